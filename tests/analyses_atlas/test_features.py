"""Brain features from FreeSurfer, CAT12, tables and maps, and the names of their regions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_analyses_atlas._atlases import Atlas, Region, load_atlas
from xai_analyses_atlas._feature_params import feature_problems
from xai_analyses_atlas._features import Features, feature_files, gather_features, read_features
from xai_analyses_atlas._features.names import matched, region_key
from xai_core import InputError
from xai_core.engine.results import RunResults

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
NAMES = {1: "Left-Hippocampus", 2: "Right-Hippocampus", 3: "ctx-lh-entorhinal", 4: "ctx-rh-entorhinal", 5: "Brain-Stem"}


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    labels = np.zeros(SHAPE, dtype=np.int16)
    for index, x in zip(NAMES, (1, 8, 3, 7, 5), strict=True):
        labels[x, 2:6, 2:5] = index
    nib.save(nib.Nifti1Image(labels, RAS), tmp_path / "atlas.nii.gz")
    rows = "".join(f"{index}\t{name}\n" for index, name in NAMES.items())
    (tmp_path / "atlas.tsv").write_text(f"index\tname\n{rows}")
    return load_atlas(tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv")


def scans(*people: str, sessions: Sequence[str] | None = None) -> pd.DataFrame:
    rows = [
        {"scan_id": f"sub-{person}" + (f"_{session}" if session else ""), "subject_id": person, "session_id": session}
        for person in people
        for session in sessions or [None]
    ]
    return pd.DataFrame(rows)


def gathered(atlas: Atlas, table: pd.DataFrame, *specs: Mapping[str, Any], **more: Any) -> Features:
    return gather_features(list(specs), table, atlas, **more)


def value(features: Features, scan: str, region: str | None, feature: str) -> float:
    table = features.table
    same = table["region"].isna() if region is None else table["region"] == region
    return float(table[(table["scan_id"] == scan) & same & (table["feature"] == feature)]["value"].item())


# --- names of regions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Left-Hippocampus", ("L", "hippocampus")),
        ("lh_hippocampus", ("L", "hippocampus")),
        ("Hippocampus_L", ("L", "hippocampus")),
        ("hippocampus (left)", ("L", "hippocampus")),
        ("lHippocampus", ("L", "hippocampus")),
        ("Right Thalamus Proper", ("R", "thalamus")),
        ("ctx-rh-superiorfrontal", ("R", "superiorfrontal")),
        ("ctx_lh_G_and_S_frontomargin", ("L", "gandsfrontomargin")),
        ("lh_G&S_frontomargin", ("L", "gandsfrontomargin")),
        ("wm-lh-entorhinal", ("L", "wmentorhinal")),
        ("Brain-Stem", (None, "brainstem")),
        ("rhinal sulcus", (None, "rhinalsulcus")),
        ("lingual", (None, "lingual")),
        ("Left-Accumbens-area", ("L", "accumbens")),
    ],
)
def test_a_name_says_side_and_structure(name: str, key: tuple[str | None, str]) -> None:
    assert region_key(name) == key


REGIONS = [
    Region(1, "Left-Hippocampus", "L", "Hippocampus"),
    Region(2, "Right-Hippocampus", "R", "Hippocampus"),
    Region(3, "CSF", None, "CSF"),
]


def test_names_are_matched_by_side_and_structure() -> None:
    found = matched(["lh_hippocampus", "csf", "hippocampus", "Left-Putamen"], REGIONS, {}, "table")
    assert {name: region and region.name for name, region in found.items()} == {
        "lh_hippocampus": "Left-Hippocampus", "csf": "CSF", "hippocampus": None, "Left-Putamen": None,
    }  # fmt: skip


def test_the_users_own_names_win() -> None:
    found = matched(["HC_links"], REGIONS, {"HC_links": "Left-Hippocampus"}, "table")
    assert found["HC_links"] == REGIONS[0]


@pytest.mark.parametrize(
    ("names", "renamed", "message"),
    [
        (["lh_hippocampus", "Hippocampus_L"], {}, "'lh_hippocampus' and 'Hippocampus_L' both mean 'Left-Hippocampus'"),
        (["a"], {"a": "Left-Hipocampus"}, "no region 'Left-Hipocampus'. Did you mean 'Left-Hippocampus'"),
        (["a"], {"b": "CSF"}, "there is no region 'b' in it"),
    ],
)
def test_names_that_are_not_clear_are_refused(names: list[str], renamed: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        matched(names, REGIONS, renamed, "table")


def test_a_name_that_may_be_two_regions_is_refused() -> None:
    twice = [*REGIONS, Region(9, "hippocampus left", "L", "hippocampus")]
    with pytest.raises(InputError, match="'lh_hippocampus' may be 'Left-Hippocampus' or 'hippocampus left'"):
        matched(["lh_hippocampus"], twice, {}, "table")


# --- FreeSurfer -------------------------------------------------------------------------------------------------------

ASEG = """# Title Segmentation Statistics
# subjectname {person}
# Measure BrainSeg, BrainSegVol, Brain Segmentation Volume, 1100000.0, mm^3
# Measure EstimatedTotalIntraCranialVol, eTIV, Estimated Total Intracranial Volume, {etiv}, mm^3
# TableCol  4 ColHeader Volume_mm3
# TableCol  4 FieldName Volume
# TableCol  4 Units mm^3
# NRows 3
# ColHeaders  Index SegId NVoxels Volume_mm3 StructName normMean normStdDev normMin normMax normRange
  1   4   5000     5100.0  Left-Lateral-Ventricle   35.0  10.0  10  90  80
  2  17   4200     {left}  Left-Hippocampus         70.0   9.0  40 110  70
  3  53   4300     {right}  Right-Hippocampus        71.0   9.0  40 110  70
"""
APARC = """# Table of FreeSurfer cortical parcellation anatomical statistics
# hemi {hemi}
# Measure Cortex, MeanThickness, Mean Thickness, 2.5, mm
# Measure EstimatedTotalIntraCranialVol, eTIV, Estimated Total Intracranial Volume, {etiv}, mm^3
# ColHeaders StructName NumVert SurfArea GrayVol ThickAvg ThickStd MeanCurv GausCurv FoldInd CurvInd
bankssts         1000  700  2000  2.5  0.5  0.100  0.020  15  0.9
entorhinal        500  350  1500  {thick}  0.6  0.090  0.030  20  1.5
"""


@pytest.fixture
def freesurfer(tmp_path: Path) -> Path:
    for number, person in enumerate(("01", "02"), 1):
        stats = tmp_path / "fs" / f"sub-{person}" / "stats"
        stats.mkdir(parents=True)
        etiv = 1500000 + number
        (stats / "aseg.stats").write_text(
            ASEG.format(person=person, etiv=etiv, left=4000.5 + number, right=4100.5 + number)
        )
        for hemi, thick in (("lh", 3.1), ("rh", 3.3)):
            (stats / f"{hemi}.aparc.stats").write_text(APARC.format(hemi=hemi, etiv=etiv, thick=thick + number / 100))
    return tmp_path / "fs"


def test_stats_files_give_volumes_thickness_and_etiv(atlas: Atlas, freesurfer: Path) -> None:
    found = gathered(
        atlas, scans("01", "sub-02"),
        {"source": "freesurfer", "file": f"{freesurfer}/{{subject_id}}/stats/aseg.stats", "measures": ["eTIV"]},
        {
            "source": "freesurfer", "file": f"{freesurfer}/sub-{{subject_id}}/stats/{{hemi}}.aparc.stats",
            "columns": ["ThickAvg", "GrayVol"], "measures": ["MeanThickness", "eTIV"],
        },
    )  # fmt: skip
    assert value(found, "sub-01", "Left-Hippocampus", "Volume_mm3") == 4001.5
    assert value(found, "sub-01", "ctx-rh-entorhinal", "ThickAvg") == pytest.approx(3.31)
    assert value(found, "sub-01", "ctx-lh-entorhinal", "GrayVol") == 1500
    assert value(found, "sub-01", None, "lh_MeanThickness") == 2.5
    assert value(found, "sub-01", None, "Volume_mm3 of Left-Lateral-Ventricle") == 5100
    # eTIV stands in three files and counts once
    assert value(found, "sub-sub-02", None, "eTIV") == 1500002
    units = found.table.drop_duplicates("feature").set_index("feature")["unit"]
    assert units[["Volume_mm3", "ThickAvg", "eTIV"]].tolist() == ["mm^3", "mm", "mm^3"]
    assert not len(found.left_out)
    unmatched = found.matches[found.matches["region"].isna()]
    assert sorted(set(unmatched["name"])) == ["Left-Lateral-Ventricle", "lh_bankssts", "rh_bankssts"]


def test_a_person_without_a_file_is_named(atlas: Atlas, freesurfer: Path) -> None:
    (freesurfer / "sub-02" / "stats" / "rh.aparc.stats").unlink()
    spec = {"source": "freesurfer", "file": f"{freesurfer}/sub-{{subject_id}}/stats/{{hemi}}.aparc.stats"}
    found = gathered(atlas, scans("01", "02", "03"), spec)
    assert found.left_out["scan_id"].tolist() == ["sub-02", "sub-03", "sub-03"]
    assert "rh.aparc.stats" in found.left_out["reason"].iloc[0]
    with pytest.raises(InputError, match=r"nothing was found for any of 1 scans: sub-07 has no file .*sub-07"):
        gathered(atlas, scans("07"), spec)


@pytest.mark.parametrize(
    ("change", "spec", "message"),
    [
        (("# ColHeaders", "# Columns"), {}, "no line '# ColHeaders"),
        (("4001.5", "big"), {}, "'big' is no number"),
        (("4001.5 ", ""), {}, "has 9 cells for 10 columns"),
        (None, {"columns": ["Volume"]}, "no column Volume. Did you mean 'Volume_mm3'"),
        (None, {"measures": ["TIV"]}, "no measure TIV"),
    ],
)
def test_stats_files_that_cannot_be_used(
    atlas: Atlas, freesurfer: Path, change: tuple[str, str] | None, spec: dict[str, Any], message: str
) -> None:
    path = freesurfer / "sub-01" / "stats" / "aseg.stats"
    if change:
        path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=message):
        gathered(
            atlas,
            scans("01"),
            {"source": "freesurfer", "file": f"{freesurfer}/{{subject_id}}/stats/aseg.stats", **spec},
        )


def test_measures_of_a_file_without_regions(atlas: Atlas, freesurfer: Path) -> None:
    """FreeSurfer 7's brainvol.stats, and SAMSEG's short form: name, value, unit."""
    for person in ("01", "02"):
        (freesurfer / f"sub-{person}" / "stats" / "brainvol.stats").write_text(
            f"# Measure Mask, MaskVol, Mask Volume, 1579089.655852317{person}, mm^3\n"
            "# Measure Intra-Cranial, 1464199.03, mm^3\n"
        )
    spec = {"source": "freesurfer", "file": f"{freesurfer}/{{subject_id}}/stats/brainvol.stats"}
    found = gathered(atlas, scans("01", "02"), {**spec, "measures": ["MaskVol", "Intra-Cranial"]})
    assert value(found, "sub-02", None, "MaskVol") == pytest.approx(1579089.65585231702, abs=1e-9)
    assert value(found, "sub-01", None, "Intra-Cranial") == 1464199.03
    with pytest.raises(InputError, match=r"Of the whole brain it has MaskVol, Intra-Cranial: name them in 'measures'"):
        gathered(atlas, scans("01"), spec)


def test_a_segmentation_of_a_surface_with_values_that_are_none(atlas: Atlas, tmp_path: Path) -> None:
    """mri_segstats writes -nan, and names regions of a hemisphere without its side."""
    (tmp_path / "lh.w-g.pct.stats").write_text(
        "# Title Segmentation Statistics \n# TableCol 11 ColHeader SNR\n# TableCol 11 Units     none\n"
        "# ColHeaders  Index SegId NVertices Area_mm2 StructName Mean SNR  \n"
        "  1 1000     16568     5129.8  unknown         0.0000       -nan \n"
        "  6 1006      1482      506.3  entorhinal     28.2478     3.9305 \n"
    )
    spec = {"source": "freesurfer", "file": f"{tmp_path}/{{hemi}}.w-g.pct.stats", "columns": ["Mean", "SNR"]}
    with pytest.raises(InputError, match=r"no \{subject_id\}"):
        gathered(atlas, scans("01"), spec)
    (tmp_path / "01").mkdir()
    (tmp_path / "lh.w-g.pct.stats").rename(tmp_path / "01" / "lh.w-g.pct.stats")
    found = gathered(atlas, scans("01"), {**spec, "file": f"{tmp_path}/{{subject_id}}/lh.w-g.pct.stats"})
    assert value(found, "sub-01", "ctx-lh-entorhinal", "Mean") == 28.2478
    assert np.isnan(value(found, "sub-01", None, "SNR of lh_unknown"))


def test_two_versions_of_freesurfer_in_one_study(
    atlas: Atlas, freesurfer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Version 7 lost the Proper of Thalamus-Proper: nobody has both names, so both may mean one region."""
    for person, name in (("01", "Left-Hippocampus"), ("02", "lh_hippocampus")):
        path = freesurfer / f"sub-{person}" / "stats" / "aseg.stats"
        path.write_text(path.read_text().replace("Left-Hippocampus", name))
    spec = {"source": "freesurfer", "file": f"{freesurfer}/{{subject_id}}/stats/aseg.stats"}
    with caplog.at_level(logging.WARNING, logger="xai"):
        logging.getLogger("xai").propagate = True
        found = gathered(atlas, scans("01", "02"), spec)
    assert value(found, "sub-01", "Left-Hippocampus", "Volume_mm3") == 4001.5
    assert value(found, "sub-02", "Left-Hippocampus", "Volume_mm3") == 4002.5
    assert "'Left-Hippocampus' in 1 scans, 'lh_hippocampus' in 1 scans" in caplog.text
    path = freesurfer / "sub-02" / "stats" / "aseg.stats"
    path.write_text(path.read_text() + "  4  17   4200     1.0  Left-Hippocampus         70.0   9.0  40 110  70\n")
    with pytest.raises(InputError, match="'Left-Hippocampus' and 'lh_hippocampus' both mean"):
        gathered(atlas, scans("01", "02"), spec)


def test_visits_have_files_of_their_own(atlas: Atlas, freesurfer: Path) -> None:
    for session, person in (("M00", "01"), ("M12", "02")):
        (freesurfer / f"sub-{person}").rename(freesurfer / f"sub-01_ses-{session}")
    spec = {"source": "freesurfer", "file": f"{freesurfer}/sub-{{subject_id}}[_ses-{{session_id}}]/stats/aseg.stats"}
    found = gathered(atlas, scans("01", sessions=["ses-M00", "ses-M12"]), spec)
    assert value(found, "sub-01_ses-M00", "Left-Hippocampus", "Volume_mm3") == 4001.5
    assert value(found, "sub-01_ses-M12", "Left-Hippocampus", "Volume_mm3") == 4002.5


def test_a_pattern_that_fits_several_files_is_refused(atlas: Atlas, freesurfer: Path) -> None:
    stats = freesurfer / "sub-01" / "stats"
    (stats / "aseg-old.stats").write_text((stats / "aseg.stats").read_text())
    spec = {"source": "freesurfer", "file": f"{freesurfer}/{{subject_id}}/stats/aseg*.stats"}
    with pytest.raises(InputError, match="fits 2 files of sub-01"):
        gathered(atlas, scans("01"), spec)
    (stats / "aseg-old.stats").unlink()
    assert value(gathered(atlas, scans("01"), spec), "sub-01", "Left-Hippocampus", "Volume_mm3") == 4001.5


@pytest.mark.parametrize(
    "ids",
    [
        ("01", "02"), ("sub-01", "sub-02"), ("sub-01.long.base", "sub-02.long.base"),
        ("/data/fs/sub-01/", "/data/fs/sub-02/"), ("fs/sub-01.long.base", "fs/sub-02.long.base"),
    ],
)  # fmt: skip
def test_group_tables(atlas: Atlas, tmp_path: Path, ids: tuple[str, str]) -> None:
    (tmp_path / "aseg.tsv").write_text(
        "Measure:volume\tLeft-Hippocampus\tRight-Hippocampus\teTIV\n"
        + "".join(f"{person}\t{4000 + n}\t{4100 + n}\t{1.5e6 + n}\n" for n, person in enumerate(ids))
    )
    (tmp_path / "thickness.tsv").write_text(
        "lh.aparc.thickness\tlh_bankssts_thickness\tlh_entorhinal_thickness\tlh_MeanThickness_thickness"
        "\tBrainSegVolNotVent\teTIV\n"
        + "".join(f"{person}\t2.5\t{3.1 + n / 10}\t2.4\t1000000\t{1.5e6 + n}\n" for n, person in enumerate(ids))
    )
    found = gathered(
        atlas, scans("01", "02"),
        {"source": "freesurfer-table", "file": str(tmp_path / "aseg.tsv")},
        {"source": "freesurfer-table", "file": str(tmp_path / "thickness.tsv")},
    )  # fmt: skip
    assert value(found, "sub-02", "Left-Hippocampus", "volume") == 4001
    assert value(found, "sub-02", "ctx-lh-entorhinal", "thickness") == pytest.approx(3.2)
    assert value(found, "sub-01", None, "eTIV") == 1.5e6
    assert value(found, "sub-01", None, "lh_MeanThickness_thickness") == 2.4
    units = found.table.drop_duplicates("feature").set_index("feature")["unit"]
    assert units[["thickness", "eTIV", "BrainSegVolNotVent"]].tolist() == ["mm", "mm^3", "mm^3"]


def test_a_slash_in_an_id_is_no_path(atlas: Atlas, tmp_path: Path) -> None:
    """Two sites count from one: the person 01 of another site is somebody else."""
    (tmp_path / "t.tsv").write_text("id\tBrain-Stem\nA/01\t1\nB/01\t2\nC/01\t3\n")
    spec = {"source": "table", "file": str(tmp_path / "t.tsv"), "feature": "volume"}
    found = gathered(atlas, scans("A/01", "B/01", "01", "C/01"), spec)
    mine = found.table.set_index("subject_id")["value"].to_dict()
    assert mine == {"A/01": 1, "B/01": 2, "C/01": 3}
    (tmp_path / "aseg.tsv").write_text("Measure:volume\tBrain-Stem\nA/01\t1\n/data/fs/02\t2\n")
    group = gathered(atlas, scans("A/01", "02"), {"source": "freesurfer-table", "file": str(tmp_path / "aseg.tsv")})
    assert group.table.set_index("subject_id")["value"].to_dict() == {"A/01": 1, "02": 2}


def test_a_group_table_of_strangers_tells_their_ids(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("Measure:volume\tLeft-Hippocampus\tBrain-Stem\n1\t3\t4\n2\t3\t4\n")
    with pytest.raises(InputError, match=r"has nobody of the run. Its ids: 1, 2. The run's: 01, 02"):
        gathered(atlas, scans("01", "02"), {"source": "freesurfer-table", "file": str(tmp_path / "t.tsv")})


def test_a_group_table_that_is_transposed_is_named(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("Measure:volume\tsub-01\tsub-02\nLeft-Hippocampus\t3\t4\n")
    with pytest.raises(InputError, match=r"a column for each person; .* without --transpose"):
        gathered(atlas, scans("01", "02"), {"source": "freesurfer-table", "file": str(tmp_path / "t.tsv")})


def test_a_table_of_another_kind_is_no_group_table(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("participant_id\tLeft-Hippocampus\n01\t3\n")
    with pytest.raises(InputError, match="Set source: table"):
        gathered(atlas, scans("01"), {"source": "freesurfer-table", "file": str(tmp_path / "t.tsv")})


# --- CAT12 ------------------------------------------------------------------------------------------------------------

ROI = """<?xml version="1.0" encoding="utf-8"?>
<S>
  <neuromorphometrics>
    <names><item>Left Hippocampus</item><item>Right Hippocampus</item><item>Brain Stem</item></names>
    <ids>[48;47;35]</ids>
    <data><Vgm>[3.4;{right};NaN]</Vgm><Vwm>[0.1;0.2;0.3]</Vwm></data>
  </neuromorphometrics>
  <cobra>
    <names><item>lHC</item></names><data><Vgm>[1]</Vgm></data>
  </cobra>
</S>
"""


def test_cat12_files(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "label").mkdir()
    for number in (1, 2):
        (tmp_path / "label" / f"catROI_sub-0{number}_T1w.xml").write_text(ROI.format(right=3 + number / 10))
        (tmp_path / f"cat_sub-0{number}_T1w.xml").write_text(
            f"<S><subjectmeasures><vol_TIV>{1400 + number}.5</vol_TIV></subjectmeasures></S>"
        )
        names = "".join(f"<item>{side}entorhinal</item>" for side in "lr")
        (tmp_path / "label" / f"catROIs_sub-0{number}_T1w.xml").write_text(
            f"<S><aparc_DK40><names>{names}</names><data><thickness>[3.1 3.2]</thickness></data></aparc_DK40></S>"
        )
    label = f"{tmp_path}/label"
    found = gathered(
        atlas, scans("01", "02"),
        {"source": "cat12", "file": f"{label}/catROI_sub-{{subject_id}}_*.xml", "roi_atlas": "neuromorphometrics"},
        {"source": "cat12", "file": f"{label}/catROIs_sub-{{subject_id}}_T1w.xml"},
        {"source": "cat12", "file": f"{tmp_path}/cat_sub-{{subject_id}}_T1w.xml"},
    )  # fmt: skip
    assert value(found, "sub-02", "Right-Hippocampus", "Vgm") == pytest.approx(3.2)
    assert np.isnan(value(found, "sub-02", "Brain-Stem", "Vgm"))
    assert value(found, "sub-01", "ctx-rh-entorhinal", "thickness") == 3.2
    assert value(found, "sub-02", None, "vol_TIV") == 1402.5
    assert set(found.table["unit"]) == {"mL", "mm"}
    with pytest.raises(InputError, match=r"holds several atlases: set roi_atlas. It has: neuromorphometrics, cobra"):
        gathered(atlas, scans("01"), {"source": "cat12", "file": f"{label}/catROI_sub-{{subject_id}}_T1w.xml"})


def test_cat12_as_it_writes_since_2017(atlas: Atlas, tmp_path: Path) -> None:
    """Abbreviations with l, r and b (both sides), thickness with NaN, and a report that gives TIV a mark, too."""
    (tmp_path / "catROI_01.xml").write_text(
        """<?xml version="1.0" encoding="utf-8"?>
<S>
   <lpba40>
      <ids>[165;166;182]</ids>
      <names>
         <item>lHip</item>
         <item>rHip</item>
         <item>bBst</item>
      </names>
      <version>1126</version>
      <data>
         <Vgm>[4.21670720836282;4.19928517995472;1.55304589176965]</Vgm>
         <Tgm>[NaN;2.5;NaN]</Tgm>
      </data>
   </lpba40>
</S>
"""
    )
    (tmp_path / "cat_01.xml").write_text(
        "<S><subjectratings><vol_TIV>1.16292297840118</vol_TIV></subjectratings>"
        "<subjectmeasures><vol_TIV>1483.14111328125</vol_TIV></subjectmeasures></S>"
    )
    found = gathered(
        atlas, scans("01"),
        {"source": "cat12", "file": f"{tmp_path}/catROI_{{subject_id}}.xml", "columns": ["Vgm", "Tgm"]},
        {"source": "cat12", "file": f"{tmp_path}/cat_{{subject_id}}.xml"},
    )  # fmt: skip
    assert value(found, "sub-01", "Left-Hippocampus", "Vgm") == 4.21670720836282
    assert value(found, "sub-01", "Right-Hippocampus", "Tgm") == 2.5
    assert value(found, "sub-01", "Brain-Stem", "Vgm") == 1.55304589176965
    assert np.isnan(value(found, "sub-01", "Left-Hippocampus", "Tgm"))
    assert value(found, "sub-01", None, "vol_TIV") == 1483.14111328125
    units = found.table.drop_duplicates("feature").set_index("feature")["unit"]
    assert units.to_dict() == {"Vgm": "mL", "Tgm": "mm", "vol_TIV": "mL"}


def test_cat12_tables_of_older_versions(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "catROI_01.csv").write_text("ROIid;ROIabbr;ROIname;Vgm\n48;lHip;Left Hippocampus;3.25\n")
    found = gathered(atlas, scans("01"), {"source": "cat12", "file": f"{tmp_path}/catROI_{{subject_id}}.csv"})
    assert value(found, "sub-01", "Left-Hippocampus", "Vgm") == 3.25


def test_a_cat12_file_that_is_cut_off_is_refused(atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "catROI_01.xml"
    spec = {"source": "cat12", "file": f"{tmp_path}/catROI_{{subject_id}}.xml", "roi_atlas": "neuromorphometrics"}
    path.write_text(ROI.format(right=3)[:200])
    with pytest.raises(InputError, match="is no XML file"):
        gathered(atlas, scans("01"), spec)
    path.write_text(ROI.format(right=3).replace("[3.4;3;NaN]", "[3.4;3]"))
    with pytest.raises(InputError, match="2 values for 3 regions"):
        gathered(atlas, scans("01"), spec)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_wide_and_long_tables(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_text(
        "participant_id,centre,lh_entorhinal,rh_entorhinal\nsub-01,A,3.1,n/a\nsub-02,B,3.2,3.4\nsub-99,B,1,1\n"
    )
    (tmp_path / "long.tsv").write_text("id\troi\tFA\tMD\n01\tBrain-Stem\t0.4\t0.7\n02\tBrain-Stem\t0.5\t0.8\n")
    found = gathered(
        atlas, scans("01", "02"),
        {"source": "table", "file": str(tmp_path / "wide.csv"), "feature": "thickness", "unit": "mm"},
        {"source": "table", "file": str(tmp_path / "long.tsv"), "region": "roi", "columns": ["FA", "MD"]},
    )  # fmt: skip
    assert value(found, "sub-01", "ctx-lh-entorhinal", "thickness") == 3.1
    assert np.isnan(value(found, "sub-01", "ctx-rh-entorhinal", "thickness"))
    assert value(found, "sub-02", "Brain-Stem", "MD") == 0.8
    assert len(found.table) == 8
    assert list(found.table.columns[1:9]) == [
        "subject_id", "session_id", "region", "name", "feature", "value", "unit", "source",
    ]  # fmt: skip


def test_leading_zeros_count(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Brain-Stem\n1,3\n2,4\n")
    with pytest.raises(InputError, match=r"has nobody of the run. Its ids: 1, 2. The run's: 01, 02"):
        gathered(atlas, scans("01", "02"), {"source": "table", "file": str(tmp_path / "t.csv")})


def test_visits_of_a_table(atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("id\tsession\tBrain-Stem\n01\tM00\t1\n01\tses-M12\t2\n02\tM00\t3\n")
    spec = {"source": "table", "file": str(path), "feature": "volume"}
    both = gathered(atlas, scans("01", "02", sessions=["M00", "M12"]), spec)
    assert value(both, "sub-01_M12", "Brain-Stem", "volume") == 2
    assert both.left_out[["scan_id", "reason"]].values.tolist() == [
        ["sub-02_M12", "lacks this visit; there are ses-M00"]
    ]
    # A study without visits: the only one of a table is meant, several are not guessed between.
    single = gathered(atlas, scans("01", "02"), spec)
    assert value(single, "sub-02", "Brain-Stem", "volume") == 3
    assert single.left_out["scan_id"].tolist() == ["sub-01"]


def test_a_value_without_a_visit_is_of_all_of_them(atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("id\tBrain-Stem\n01\t1.5\n")
    found = gathered(
        atlas, scans("01", sessions=["M00", "M12"]), {"source": "table", "file": str(path), "feature": "v"}
    )
    assert found.table["value"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("", {}, "is empty"),
        ("id,Brain-Stem\n01,x\n", {"columns": ["Brain-Stem"]}, "line 2, Brain-Stem: 'x' is no number"),
        ("id,Brain-Stem\n01,inf\n", {"columns": ["Brain-Stem"]}, "infinite"),
        ("id,Brain-Stem\n01\n", {}, "line 2: 1 cells for 2 columns"),
        ("id,a,a\n01,1,2\n", {}, "has the column a more than once"),
        ("name,Brain-Stem\n01,2\n", {}, "no column of ids"),
        ("id,Brain-Stem\n01,2\n", {"people": "ID"}, "people: .* no column 'ID'"),
        ("id,Brain-Stem\n01,2\n01,3\n", {}, "given twice and differ, such as t of Brain-Stem of sub-01: 2 and 3"),
        ("id,what\n01,x\n", {}, "no column of numbers besides id"),
    ],
)
def test_tables_that_cannot_be_used(
    atlas: Atlas, tmp_path: Path, text: str, spec: dict[str, Any], message: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        gathered(atlas, scans("01"), {"source": "table", "file": str(tmp_path / "t.csv"), **spec})


def test_a_value_that_is_missing_once_does_not_hide_one_that_is_there(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Brain-Stem\n01,n/a\n01,3\n")
    found = gathered(atlas, scans("01"), {"source": "table", "file": str(tmp_path / "t.csv"), "feature": "v"})
    assert found.table["value"].tolist() == [3.0]


# --- maps -------------------------------------------------------------------------------------------------------------


def with_maps(tmp_path: Path, data: np.ndarray, affine: np.ndarray = RAS) -> pd.DataFrame:
    path = tmp_path / "maps" / "gm.nii.gz"
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    return scans("01").assign(map_gm=str(path))


def test_maps_are_summed_by_region(atlas: Atlas, tmp_path: Path) -> None:
    data = np.zeros(SHAPE)
    data[1, 2:6, 2:5] = 0.5  # the 12 voxels of the left hippocampus
    data[8, 2, 2] = 1.0
    table = with_maps(tmp_path, data)
    volume = gathered(atlas, table, {"source": "map", "map": "gm"})
    assert value(volume, "sub-01", "Left-Hippocampus", "gm_volume") == pytest.approx(12 * 0.5 * 64)
    assert value(volume, "sub-01", "Right-Hippocampus", "gm_volume") == pytest.approx(64)
    mean = gathered(atlas, table, {"source": "map", "map": "gm", "statistic": "mean"})
    assert value(mean, "sub-01", "Right-Hippocampus", "gm_mean") == pytest.approx(1 / 12)
    share = gathered(atlas, table, {"source": "map", "map": "gm", "statistic": "share", "threshold": 0.6})
    assert value(share, "sub-01", "Left-Hippocampus", "gm_share") == 0
    assert value(share, "sub-01", "Right-Hippocampus", "gm_share") == pytest.approx(1 / 12)


def test_a_map_of_a_scan_that_was_registered_lies_where_it_goes(atlas: Atlas, tmp_path: Path) -> None:
    data = np.zeros(SHAPE)
    data[1, 2:6, 2:5] = 1.0
    shift = np.eye(4)
    shift[0, 3] = 100.0
    table = with_maps(tmp_path, data, np.linalg.inv(shift) @ RAS)
    found = gathered(atlas, table, {"source": "map", "map": "gm"}, to_mni={"sub-01": shift.tolist()})
    assert value(found, "sub-01", "Left-Hippocampus", "gm_volume") == pytest.approx(12 * 64)


@pytest.mark.parametrize(
    ("data", "spec", "message"),
    [
        (np.full(SHAPE, 2.0), {}, "so its sum is no volume"),
        (np.full(SHAPE, np.nan), {"statistic": "mean"}, "voxels that are NaN"),
        (np.zeros((*SHAPE, 2)), {}, "a map of one volume is needed"),
        (np.zeros(SHAPE), {"map": "fa"}, "the study has no map 'fa'. It has: gm"),
    ],
)
def test_maps_that_cannot_be_used(
    atlas: Atlas, tmp_path: Path, data: np.ndarray, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        gathered(atlas, with_maps(tmp_path, data), {"source": "map", "map": "gm", **spec})


def test_a_person_without_a_map_is_named(atlas: Atlas, tmp_path: Path) -> None:
    table = with_maps(tmp_path, np.zeros(SHAPE))
    both = pd.concat([table, scans("02")], ignore_index=True)
    found = gathered(atlas, both, {"source": "map", "map": "gm"})
    assert found.left_out[["scan_id", "reason"]].values.tolist() == [["sub-02", "has no map gm"]]


# --- the whole --------------------------------------------------------------------------------------------------------


def test_features_of_a_run(atlas: Atlas, tmp_path: Path, make_run: Callable[..., RunResults]) -> None:
    people = [
        {"scan": f"sub-0{n}", "subject": f"0{n}", "target": "CN", "prediction": "CN", "map": np.ones(SHAPE)}
        for n in (1, 2)
    ]
    (tmp_path / "t.csv").write_text("id,Brain-Stem\n01,3\n02,4\n")
    found = read_features(
        [{"source": "table", "file": str(tmp_path / "t.csv"), "feature": "v"}], make_run(people), atlas
    )
    assert found[["subject_id", "region", "value"]].values.tolist() == [
        ["01", "Brain-Stem", 3.0],
        ["02", "Brain-Stem", 4.0],
    ]


def test_files_that_decide_are_named_whether_they_exist_or_not(tmp_path: Path) -> None:
    specs = [
        {"source": "table", "file": "/data/t.csv"},
        {"source": "freesurfer", "file": "/fs/{subject_id}/stats/{hemi}.aparc.stats"},
        {"source": "map", "map": "gm"},
    ]
    found = feature_files(specs, scans("01").assign(map_gm="/maps/gm.nii.gz"))
    assert [str(path) for path in found] == [
        "/data/t.csv",
        "/fs/01/stats/lh.aparc.stats", "/fs/sub-01/stats/lh.aparc.stats",
        "/fs/01/stats/rh.aparc.stats", "/fs/sub-01/stats/rh.aparc.stats",
        "/maps/gm.nii.gz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"source": "table"}, "features[0]: source: table needs file."),
        ({"source": "map"}, "features[0]: source: map needs map, the name of a map of the study."),
        ({"source": "map", "map": "gm", "statistic": "share"}, "features[0]: statistic: share needs a threshold."),
        ({"source": "freesurfer", "file": "fs/aseg.stats"}, "has no {subject_id}, the place of the person's id."),
        ({"source": "cat12", "file": "{subject_id}", "unit": "mm"}, "unit does not belong to source: cat12"),
        ({"source": "table", "file": "a", "measures": ["eTIV"]}, "measures does not belong to source: table"),
    ],
)
def test_sources_that_lack_something(spec: dict[str, Any], message: str) -> None:
    problems = feature_problems([spec])
    assert len(problems) == 1
    assert message in problems[0]


# --- what would be lost or wrong in silence ---------------------------------------------------------------------------


def test_a_slip_of_the_pen_does_not_lose_a_region(atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "volumes.csv"
    rows = ["01,3000,90,M", "02,<1,91,F", "03,3200,92,M"]
    path.write_text("\n".join(["participant_id,Left-Hippocampus,Right-Hippocampus,sex", *rows]))
    spec = {"source": "table", "file": str(path)}
    with pytest.raises(InputError, match=r"'Left-Hippocampus' holds numbers, but not in 1 cells.*line 3: '<1'"):
        gathered(atlas, scans("01", "02", "03"), spec)
    path.write_text(path.read_text().replace("<1", "n/a"))
    assert set(gathered(atlas, scans("01", "02", "03"), spec).matches["name"]) == {
        "Left-Hippocampus", "Right-Hippocampus",
    }  # fmt: skip


def test_a_region_that_the_field_of_view_cuts_has_no_volume(
    atlas: Atlas, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    affine = RAS.copy()
    affine[1, 3] += 3 * 4  # of the voxels 2 to 5 the first is cut off
    cut = gathered(atlas, with_maps(tmp_path, np.ones(SHAPE)[:, 3:], affine), {"source": "map", "map": "gm"})
    assert np.isnan(value(cut, "sub-01", "Left-Hippocampus", "gm_volume"))
    assert "less than 80 % of a region" in caplog.text
    affine[1, 3] -= 4
    whole = gathered(atlas, with_maps(tmp_path, np.ones(SHAPE)[:, 2:], affine), {"source": "map", "map": "gm"})
    assert value(whole, "sub-01", "Left-Hippocampus", "gm_volume") == 12 * 64
