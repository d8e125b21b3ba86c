"""Label numbers of FreeSurfer's segmentations, as in its FreeSurferColorLUT.txt."""

from __future__ import annotations

from collections.abc import Container
from pathlib import PurePath

__all__ = ["standard_names"]

# Fischl et al., Neuron 33:341, 2002, and later versions. Numbers are those of the left and of the right side.
_ASEG = {
    (2, 41): "Cerebral-White-Matter", (3, 42): "Cerebral-Cortex", (4, 43): "Lateral-Ventricle",
    (5, 44): "Inf-Lat-Vent", (7, 46): "Cerebellum-White-Matter", (8, 47): "Cerebellum-Cortex",
    (10, 49): "Thalamus", (11, 50): "Caudate", (12, 51): "Putamen", (13, 52): "Pallidum", (17, 53): "Hippocampus",
    (18, 54): "Amygdala", (26, 58): "Accumbens-area", (28, 60): "VentralDC", (30, 62): "vessel",
    (31, 63): "choroid-plexus", (78, 79): "WM-hypointensities", (81, 82): "non-WM-hypointensities",
}  # fmt: skip
_MIDLINE = {
    14: "3rd-Ventricle", 15: "4th-Ventricle", 16: "Brain-Stem", 24: "CSF", 72: "5th-Ventricle",
    77: "WM-hypointensities", 80: "non-WM-hypointensities", 85: "Optic-Chiasm", 251: "CC_Posterior",
    252: "CC_Mid_Posterior", 253: "CC_Central", 254: "CC_Mid_Anterior", 255: "CC_Anterior",
}  # fmt: skip

# Desikan et al., NeuroImage 31:968, 2006: label 1000 (left) or 2000 (right) and the place in this list.
_DESIKAN = (
    "unknown bankssts caudalanteriorcingulate caudalmiddlefrontal corpuscallosum cuneus entorhinal fusiform "
    "inferiorparietal inferiortemporal isthmuscingulate lateraloccipital lateralorbitofrontal lingual "
    "medialorbitofrontal middletemporal parahippocampal paracentral parsopercularis parsorbitalis parstriangularis "
    "pericalcarine postcentral posteriorcingulate precentral precuneus rostralanteriorcingulate rostralmiddlefrontal "
    "superiorfrontal superiorparietal superiortemporal supramarginal frontalpole temporalpole transversetemporal "
    "insula"
)
# Klein and Tourville, Frontiers in Neuroscience 6:171, 2012: the same numbers without these.
_NOT_IN_DKT = {"bankssts", "frontalpole", "temporalpole", "corpuscallosum"}

# Destrieux et al., NeuroImage 53:1, 2010: label 11100 (left) or 12100 (right) and the place in this list.
_DESTRIEUX = (
    "Unknown G_and_S_frontomargin G_and_S_occipital_inf G_and_S_paracentral G_and_S_subcentral "
    "G_and_S_transv_frontopol G_and_S_cingul-Ant G_and_S_cingul-Mid-Ant G_and_S_cingul-Mid-Post G_cingul-Post-dorsal "
    "G_cingul-Post-ventral G_cuneus G_front_inf-Opercular G_front_inf-Orbital G_front_inf-Triangul G_front_middle "
    "G_front_sup G_Ins_lg_and_S_cent_ins G_insular_short G_occipital_middle G_occipital_sup G_oc-temp_lat-fusifor "
    "G_oc-temp_med-Lingual G_oc-temp_med-Parahip G_orbital G_pariet_inf-Angular G_pariet_inf-Supramar G_parietal_sup "
    "G_postcentral G_precentral G_precuneus G_rectus G_subcallosal G_temp_sup-G_T_transv G_temp_sup-Lateral "
    "G_temp_sup-Plan_polar G_temp_sup-Plan_tempo G_temporal_inf G_temporal_middle Lat_Fis-ant-Horizont "
    "Lat_Fis-ant-Vertical Lat_Fis-post Medial_wall Pole_occipital Pole_temporal S_calcarine S_central "
    "S_cingul-Marginalis S_circular_insula_ant S_circular_insula_inf S_circular_insula_sup S_collat_transv_ant "
    "S_collat_transv_post S_front_inf S_front_middle S_front_sup S_interm_prim-Jensen S_intrapariet_and_P_trans "
    "S_oc_middle_and_Lunatus S_oc_sup_and_transversal S_occipital_ant S_oc-temp_lat S_oc-temp_med_and_Lingual "
    "S_orbital_lateral S_orbital_med-olfact S_orbital-H_Shaped S_parieto_occipital S_pericallosal S_postcentral "
    "S_precentral-inf-part S_precentral-sup-part S_suborbital S_subparietal S_temporal_inf S_temporal_sup "
    "S_temporal_transverse"
)


def standard_names(file: str) -> dict[int, str] | None:
    """Return the names of the labels of one of FreeSurfer's own files, by the file's name; None: it is none of them.

    Known are ``aseg``, ``aparc+aseg``, ``aparc.DKTatlas+aseg``, ``aparc.a2009s+aseg`` (``.mgz`` or ``.nii.gz``) and
    ``wmparc``.
    """
    stem = PurePath(file).name.split(".mg")[0].split(".nii")[0]
    if stem.endswith("aparc.a2009s+aseg"):
        return _aseg() | _parcels("ctx_{}_", 11100, 1000, _DESTRIEUX)
    if stem.endswith(("aparc.DKTatlas+aseg", "aparc.DKTatlas40+aseg")):
        return _aseg() | _parcels("ctx-{}-", 1000, 1000, _DESIKAN, _NOT_IN_DKT)
    if stem.endswith("aparc+aseg"):
        return _aseg() | _parcels("ctx-{}-", 1000, 1000, _DESIKAN)
    if stem.endswith("wmparc"):
        deep = {5001: "Left-UnsegmentedWhiteMatter", 5002: "Right-UnsegmentedWhiteMatter"}
        cortex = _parcels("ctx-{}-", 1000, 1000, _DESIKAN)
        return _aseg() | cortex | _parcels("wm-{}-", 3000, 1000, _DESIKAN) | deep
    return _aseg() if stem.endswith("aseg") else None


def _aseg() -> dict[int, str]:
    left = {numbers[0]: f"Left-{name}" for numbers, name in _ASEG.items()}
    return _MIDLINE | left | {numbers[1]: f"Right-{name}" for numbers, name in _ASEG.items()}


def _parcels(prefix: str, left: int, step: int, names: str, without: Container[str] = ()) -> dict[int, str]:
    numbered = [(place, name) for place, name in enumerate(names.split()) if name not in without]
    return {
        base + place: prefix.format(side) + name
        for side, base in (("lh", left), ("rh", left + step))
        for place, name in numbered
    }
