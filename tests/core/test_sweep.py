"""``xai sweep``: chosen by validation people only, in each outer fold on its own, and tested once."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import torchio as tio

from xai_core import ConfigError, InputError, Pipeline, RunError, registry
from xai_core.engine import sweep as sweep_module
from xai_core.engine.results import RunResults
from xai_core.engine.sweep import Sweep
from xai_core.engine.sweepspace import propose
from xai_core.interfaces import Executor
from xai_core.testing._toys import ToyDataset, ToySplitter, ToyTrainer, _schema, register_toys
from xai_core.types import Fold

PIPELINE = """version: 1
name: base
seed: 3
device: cpu
output: results
quality: false
data: {name: labelled, params: {folder: study}}
split: {name: toy, params: {folds: 3}}
model: {name: toy}
training: {name: rated, params: {epochs: 3}}
explainers: [{name: toy}]
"""

SWEEP = """version: 1
parameters:
  training.params.rate: {values: [0.01, 3.0]}
  model.params.width: {values: [1, 3]}
metric: nll
"""


class Labelled(ToyDataset):
    """The class of each person is in ``labels.json``."""

    def subjects(self) -> Sequence[tio.Subject]:
        labels = json.loads((self.folder / "labels.json").read_text())
        files = {path.name.partition(".")[0]: path for path in sorted(self.folder.glob("*.nii.gz"))}
        return [
            tio.Subject(image=tio.ScalarImage(path), subject_id=name, target=labels[name])
            for name, path in files.items()
        ]


class Rated(ToyTrainer):
    """Gradient descent with a rate; fails at the rate 666; a score that is not defined below ``needs`` scans."""

    calls: ClassVar[list[tuple[float, int]]] = []
    config_schema: ClassVar[Mapping[str, Any]] = _schema(
        epochs={"type": "integer", "minimum": 1, "default": 2, "description": "Epochs."},
        rate={"type": "number", "exclusiveMinimum": 0, "default": 0.1, "description": "Rate."},
        flat={"type": "boolean", "default": False, "description": "Whether every score is the same."},
    )

    def __init__(self, *, epochs: int = 2, rate: float = 0.1, flat: bool = False) -> None:
        super().__init__(epochs=epochs)
        if rate == 13:
            raise InputError("rate: 13 brings bad luck.")
        self.rate, self.flat = rate, flat

    def train(self, model: Any, train: Any, validation: Any, context: Any) -> Any:
        self.calls.append((self.rate, context.fold))
        if self.rate == 666:
            raise RuntimeError("out of memory")
        result = super().train(model, train, validation, context)
        with torch.no_grad():
            model[-1].weight *= self.rate * 10
        return result

    def metrics(self, predictions: Any, task: Any, classes: Any, seed: int) -> dict[str, Any]:
        del task, seed
        rows = [row[f"probability_{row['target']}"] for _, row in predictions.iterrows()]
        values = -np.log(np.maximum(np.asarray(rows, dtype=float), 1e-12))
        loss = 1.0 if self.flat else float(values.mean())
        both = set(predictions["target"]) == set(classes)
        scores = {"nll": {"value": loss, "low": loss - 1, "high": loss + 1}, "gain": {"value": -loss}}
        return {**scores, "auc": {"value": 0.5 if both else None}}


class Nested(ToySplitter):
    """Outer folds with two inner divisions each."""

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        outer = super().split(table, seed)
        turned = [Fold(fold.val, fold.train, fold.test, repeat=1) for fold in outer]
        return [*outer, *turned]


class NoValidation(ToySplitter):
    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        folds = super().split(table, seed)
        return [Fold(f.train, () if index else f.val, f.test) for index, f in enumerate(folds)]


@pytest.fixture
def study(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a study and a sweep and returns the sweep's file."""
    del site
    register_toys()
    for kind, name, component in (
        ("dataset", "labelled", Labelled), ("trainer", "rated", Rated), ("splitter", "nested", Nested),
        ("splitter", "no-validation", NoValidation),
    ):  # fmt: skip
        registry.register(kind, name, component)
    monkeypatch.setattr(Rated, "calls", [])

    def write(sweep: str = SWEEP, pipeline: str = PIPELINE, labels: Mapping[str, str] | None = None) -> Path:
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        names = [f"p{i:02}" for i in range(12)]
        affine = np.diag([-3.0, 3.0, 3.0, 1.0])
        for number, name in enumerate(names):
            values = np.random.default_rng(number).random((5, 5, 5)).astype(np.float32)
            if not (folder / f"{name}.nii.gz").exists():
                nib.save(nib.Nifti1Image(values + (number // 2 % 2) * 0.5, affine), folder / f"{name}.nii.gz")
        made = {name: "ab"[(number // 2) % 2] for number, name in enumerate(names)}
        (folder / "labels.json").write_text(json.dumps({**made, **(labels or {})}))
        (tmp_path / "pipeline.yaml").write_text(pipeline)
        path = tmp_path / "search.yaml"
        path.write_text(sweep)
        return path

    return write


def people_tested(folder: Path) -> dict[int, set[str]]:
    splits = RunResults(folder).splits()
    return {fold: set(rows["subject_id"]) for fold, rows in splits[splits["part"] == "test"].groupby("fold")}


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)


class TestChoice:
    def test_each_outer_fold_takes_its_best_validation_score_and_is_tested_once(
        self, study: Callable[..., Path]
    ) -> None:
        search = Sweep.from_file(study())
        found = search.run()
        assert len(Rated.calls) == 4 * 3  # nothing is trained again for best
        rows = table(search.folder / "sweep.tsv")
        assert len(rows) == 12
        for choice in found["chosen"]:
            of_fold = rows[rows["fold"] == choice["outer_fold"]]
            best = of_fold.loc[of_fold["validation"].idxmin()]
            assert choice["trial"] == best["trial"]
            assert choice["validation"] == best["validation"]
            assert choice["parameters"]["training.params.rate"] == best["training.params.rate"]
        trial = search.folder / "trials" / "0"
        assert not (trial / "predictions.tsv").exists()
        assert not (trial / ".xai" / "predictions").exists()
        validation = RunResults(trial).splits()
        validation = validation[validation["part"] == "val"]
        predicted = table(trial / "validation-predictions.tsv")
        assert set(zip(predicted["fold"], predicted["subject_id"], strict=True)) == set(
            zip(validation["fold"], validation["subject_id"], strict=True)
        )
        for trial in range(4):
            predicted = table(search.folder / "trials" / str(trial) / "validation-predictions.tsv")
            for fold, part in predicted.groupby("fold"):
                expected = -np.mean([math.log(row[f"probability_{row['target']}"]) for _, row in part.iterrows()])
                score = rows[(rows["trial"] == trial) & (rows["fold"] == fold)]["validation"].item()
                assert score == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("way", ["search: random\ntrials: 4", "search: optuna\ntrials: 3"])
    def test_labels_of_test_people_do_not_change_the_choice(
        self, study: Callable[..., Path], tmp_path: Path, way: str
    ) -> None:
        if "optuna" in way:
            pytest.importorskip("optuna")
        text = SWEEP.replace("{values: [0.01, 3.0]}", "{values: [0.01, 0.1, 1.0, 9.0]}") + way
        first = Sweep.from_file(study(text))
        before = first.run()["chosen"]
        tested = people_tested(first.folder / "best")
        for fold, people in list(tested.items())[:2]:
            labels = json.loads((tmp_path / "study" / "labels.json").read_text())
            turned = {person: {"a": "b", "b": "a"}[labels[person]] for person in people}
            again = Sweep.from_file(study(text + f"\nname: turned-{fold}\n", labels=turned))
            choice = again.run()["chosen"]
            study(text)
            assert people_tested(again.folder / "best") == tested
            same = [(c["parameters"], c["validation"], c["trial"]) for c in (before[fold], choice[fold])]
            assert same[0] == same[1]
            # The labels do count elsewhere: those people train or validate the other folds.
            others = [index for index in tested if index != fold]
            assert [before[i]["validation"] for i in others] != [choice[i]["validation"] for i in others]

    def test_inner_folds_of_one_outer_fold_are_averaged(self, study: Callable[..., Path]) -> None:
        pipeline = PIPELINE.replace("{name: toy, params: {folds: 3}}", "{name: nested, params: {folds: 3}}")
        search = Sweep.from_file(study(pipeline=pipeline))
        found = search.run()
        rows = table(search.folder / "sweep.tsv")
        assert [choice["folds"] for choice in found["chosen"]] == [[0, 3], [1, 4], [2, 5]]
        for choice in found["chosen"]:
            means = rows[rows["fold"].isin(choice["folds"])].groupby("trial")["validation"].mean()
            assert choice["trial"] == means.idxmin()
            assert choice["validation"] == pytest.approx(means.min(), rel=1e-12)

    def test_minimise_and_maximise(self, study: Callable[..., Path]) -> None:
        least = Sweep.from_file(study()).run()
        text = SWEEP.replace("nll", "gain") + "name: gain\ndirection: maximize\n"
        most = Sweep.from_file(study(text)).run()
        assert [c["trial"] for c in least["chosen"]] == [c["trial"] for c in most["chosen"]]
        wrong = Sweep.from_file(study(SWEEP + "name: wrong\ndirection: maximize\n")).run()
        assert [c["trial"] for c in least["chosen"]] != [c["trial"] for c in wrong["chosen"]]


class TestBest:
    def test_is_a_run_folder_whose_folds_have_their_own_configurations(self, study: Callable[..., Path]) -> None:
        search = Sweep.from_file(study())
        found = search.run()
        chosen = {choice["outer_fold"]: choice for choice in found["chosen"]}
        assert len({choice["trial"] for choice in chosen.values()}) > 1, "the study no longer shows anything"
        best = Pipeline.from_folder(search.folder / "best")
        for fold, choice in chosen.items():
            network = best.fold(fold).loaded.model
            assert network[0].out_channels == choice["parameters"]["model.params.width"]
            other = Pipeline.from_folder(search.folder / "trials" / str(choice["trial"])).fold(fold).loaded.model
            assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
        calls = len(Rated.calls)
        results = best.run("explain")
        assert len(Rated.calls) == calls
        assert len(results.maps("toy")) == 12

    def test_nested_estimate_is_of_the_chosen_networks_on_their_test_people(self, study: Callable[..., Path]) -> None:
        search = Sweep.from_file(study())
        found = search.run()
        assert Sweep.from_file(search.file.source).run() == found  # a second call does nothing
        assert len(Rated.calls) == 4 * 3
        predictions = RunResults(search.folder / "best").predictions()
        expected = []
        for choice in found["chosen"]:
            fold = choice["outer_fold"]
            trial = Pipeline.from_folder(search.folder / "trials" / str(choice["trial"])).fold(fold)
            for _, row in predictions[predictions["fold"] == fold].iterrows():
                image = search.base["data"]["params"]["folder"] + f"/{row['subject_id']}.nii.gz"
                p = trial.predict(image)[f"probability_{row['target']}"]
                assert row[f"probability_{row['target']}"] == pytest.approx(p, rel=1e-5)
                expected.append(-math.log(p))
        assert len(expected) == 12
        assert found["nested"]["nll"]["value"] == pytest.approx(np.mean(expected), rel=1e-5)
        assert found["nested"]["nll"]["low"] < found["nested"]["nll"]["high"]
        single = found["optimistic"]["best_single"]
        rows = table(search.folder / "sweep.tsv").groupby("trial")["validation"].mean()
        assert (single["trial"], single["validation"]) == (rows.idxmin(), pytest.approx(rows.min()))

    def test_one_configuration_needs_no_per_fold(self, study: Callable[..., Path]) -> None:
        text = "version: 1\nparameters: {training.params.rate: {values: [0.2]}}\nmetric: nll\n"
        search = Sweep.from_file(study(text))
        search.run()
        assert "per_fold" not in RunResults(search.folder / "best").config


class TestResume:
    @pytest.mark.parametrize("way", ["", "search: optuna\ntrials: 3"])
    def test_after_a_kill_only_what_is_missing(
        self, study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        if way:
            pytest.importorskip("optuna")
        whole = Sweep.from_file(study(SWEEP + way + "\nname: whole\n")).run()
        done = len(Rated.calls)
        Rated.calls.clear()
        path = study(SWEEP + way + "\nname: killed\n")
        train, limit = Rated.train, 7

        def killed(self: Rated, *arguments: Any) -> Any:
            if len(Rated.calls) >= limit:
                raise KeyboardInterrupt
            return train(self, *arguments)

        monkeypatch.setattr(Rated, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            Sweep.from_file(path).run()
        monkeypatch.setattr(Rated, "train", train)
        found = Sweep.from_file(path).run()
        assert len(Rated.calls) == done
        assert found == whole

    def test_changed_scans_are_trained_anew(self, study: Callable[..., Path], tmp_path: Path) -> None:
        path = study()
        Sweep.from_file(path).run()
        Rated.calls.clear()
        image = nib.load(tmp_path / "study" / "p00.nii.gz")
        nib.save(nib.Nifti1Image(image.get_fdata() * 2, image.affine), tmp_path / "study" / "p00.nii.gz")
        Sweep.from_file(path).run()
        assert len(Rated.calls) == 4 * 2  # p00 is tested in one of three folds

    def test_more_trials_of_a_random_search_begin_with_the_same(self, study: Callable[..., Path]) -> None:
        text = (
            "version: 1\nsearch: random\ntrials: {}\nmetric: nll\n"
            "parameters: {{training.params.rate: {{low: 0.01, high: 1.0, log: true}}}}\n"
        )
        few = Sweep.from_file(study(text.format(2)))
        few.run()
        more = Sweep.from_file(study(text.format(4)))
        more.run()
        assert [values for values, _ in more.planned[:2]] == [values for values, _ in few.planned]
        assert len(Rated.calls) == 4 * 3
        rates = [values["training.params.rate"] for values, _ in more.planned]
        assert len(set(rates)) == 4
        assert all(0.01 <= rate <= 1 for rate in rates)

    def test_another_sweep_of_this_name_is_refused(self, study: Callable[..., Path]) -> None:
        Sweep.from_file(study()).run()
        other = Sweep.from_file(study(SWEEP.replace("3.0", "4.0")))
        with pytest.raises(InputError, match=r"holds another sweep .*parameters"):
            other.run()
        changed = Sweep.from_file(study(pipeline=PIPELINE.replace("epochs: 3", "epochs: 4")))
        with pytest.raises(InputError, match=r"study\.training\.params\.epochs"):
            changed.run()

    def test_what_no_trial_has_may_change(self, study: Callable[..., Path]) -> None:
        """Trials are neither explained nor analysed: a sweep of days is not lost for an analysis that is taken out."""
        search = Sweep.from_file(study(pipeline=PIPELINE + "analyses: [{name: toy}]\n"))
        search.run()
        trained = len(Rated.calls)
        Sweep.from_file(study(pipeline=PIPELINE.replace("{name: toy}]", "{name: toy, params: {scale: 2}}]"))).run()
        assert len(Rated.calls) == trained
        assert RunResults(search.folder / "best").config["analyses"] == []
        assert RunResults(search.folder / "best").config["explainers"][0]["params"] == {"scale": 2}
        assert not (search.folder / "best-before-1").exists()

    def test_the_same_choice_keeps_what_it_was_analysed_by_since(self, study: Callable[..., Path]) -> None:
        search = Sweep.from_file(study())
        search.run()
        best = search.folder / "best"
        more = ["explainers=[{name: toy}, {name: toy, id: more}]", "analyses=[{name: toy}]"]
        Pipeline.from_file(best / "pipeline.resolved.yaml", sets=more).run()
        Sweep.from_file(study()).run()
        assert not (search.folder / "best-before-1").exists()
        assert [slot["id"] for slot in RunResults(best).config["explainers"]] == ["toy", "more"]
        assert len(RunResults(best).maps("more")) == 12

    def test_a_run_folder_of_this_name_is_left_alone(self, study: Callable[..., Path]) -> None:
        path = study(SWEEP + "name: base\n")
        Pipeline.from_file(path.with_name("pipeline.yaml")).run("train")
        with pytest.raises(InputError, match="not a sweep's folder"):
            Sweep.from_file(path).run()


class TestFailures:
    def test_a_failing_trial_is_recorded_and_the_others_go_on(self, study: Callable[..., Path]) -> None:
        search = Sweep.from_file(study(SWEEP.replace("3.0", "666")))
        found = search.run()
        rows = table(search.folder / "sweep.tsv")
        failed = rows[rows["status"] == "failed"]
        assert set(failed["training.params.rate"]) == {666}
        assert set(failed["message"]) == {"RuntimeError: out of memory"} or all(
            "out of memory" in message for message in failed["message"]
        )
        assert all(choice["parameters"]["training.params.rate"] != 666 for choice in found["chosen"])
        Rated.calls.clear()
        Sweep.from_file(study(SWEEP.replace("3.0", "666"))).run()
        assert not Rated.calls
        Sweep.from_file(study(SWEEP.replace("3.0", "666"))).run(retry_failed=True)
        assert len(Rated.calls) == 6

    def test_all_failing_is_an_error_with_the_reason(self, study: Callable[..., Path]) -> None:
        search = Sweep.from_file(study(SWEEP.replace("[0.01, 3.0]", "[666]")))
        with pytest.raises(RunError, match=r"outer fold 0: failed: .*out of memory"):
            search.run()
        assert set(table(search.folder / "sweep.tsv")["status"]) == {"failed"}

    def test_equal_scores_take_the_first_and_say_so(
        self, study: Callable[..., Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        search = Sweep.from_file(study(pipeline=PIPELINE.replace("epochs: 3", "epochs: 3, flat: true")))
        with caplog.at_level("WARNING", logger="xai"):
            found = search.run()
        assert [(c["trial"], c["ties"]) for c in found["chosen"]] == [(0, 4)] * 3

    def test_nan_scores_cannot_be_chosen(self, study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
        metrics = Rated.metrics

        def sometimes(self: Rated, predictions: Any, *arguments: Any) -> Any:
            found = metrics(self, predictions, *arguments)
            return {**found, "nll": {"value": math.nan}} if self.rate == 3.0 else found

        search = Sweep.from_file(study())
        monkeypatch.setattr(Rated, "metrics", sometimes)
        found = search.run()
        assert all(choice["parameters"]["training.params.rate"] != 3.0 for choice in found["chosen"])
        rows = table(search.folder / "sweep.tsv")
        assert set(rows[rows["status"] == "not defined"]["training.params.rate"]) == {3.0}

    def test_no_validation_part(self, study: Callable[..., Path]) -> None:
        pipeline = PIPELINE.replace("{name: toy,", "{name: no-validation,")
        with pytest.raises(InputError, match="no validation part in fold 1, 2:"):
            Sweep.from_file(study(pipeline=pipeline)).run()
        assert not Rated.calls

    def test_a_score_that_is_not_there_is_refused_before_training(self, study: Callable[..., Path]) -> None:
        search = Sweep.from_file(study(SWEEP.replace("metric: nll", "metric: accuracy")))
        with pytest.raises(ConfigError, match=r"no score 'accuracy'.*It has: nll, gain, auc"):
            search.run()
        assert not Rated.calls

    def test_a_score_that_cannot_be_defined_is_refused_before_training(self, study: Callable[..., Path]) -> None:
        labels = dict.fromkeys([f"p{i:02}" for i in range(0, 12, 2)], "a")
        search = Sweep.from_file(study(SWEEP.replace("nll", "auc"), labels=labels))
        with pytest.raises(InputError, match="auc is not defined for the validation people of fold 0"):
            search.run()
        assert not Rated.calls


class TestFile:
    def test_every_problem_at_once_with_its_line(self, study: Callable[..., Path]) -> None:
        text = """version: 1
serach: grid
metric: sharpness
trials: 3
parameters:
  training.params.rat: {values: [0.1]}
  model.params.width: {values: [0, 1, two]}
  split.params.folds: {values: [2, 3]}
  training.params.epochs: {low: 1, high: 3}
  modle.params.width: {values: [1]}
"""
        with pytest.raises(ConfigError) as error:
            Sweep.from_file(study(text))
        told = "\n".join(error.value.problems)
        for part in (
            "search.yaml:2: serach: unknown key. Did you mean 'search'?",
            "search.yaml:3: metric: whether a greater sharpness is better",
            "search.yaml:4: trials: a grid tries every combination",
            "search.yaml:6 (training.params.rat: 0.1): training.params.rat: unknown parameter. Did you mean 'rate'?",
            "model.params.width: must be at least 1, not 0",
            "model.params.width: must be an integer, not 'two'",
            "search.yaml:8: parameters.split.params.folds: cannot be varied",
            "search.yaml:9: parameters.training.params.epochs: a grid needs values",
            "search.yaml:10: parameters.modle.params.width: cannot be varied",
            "Did you mean 'model'?",
        ):
            assert part in told, told

    @pytest.mark.parametrize(
        ("entry", "told"),
        [
            ("{low: 1.0, high: 0.1}", "low .* must be less than high"),
            ("{low: 0, high: 0.1, log: true}", "needs a low above 0"),
            ("{low: 0.1}", "give either values"),
            ("{values: [0.1], low: 0.1, high: 1}", "give either values"),
            ("{values: []}", "at least 1 entries"),
            ("{values: [0.1, 0.1]}", "there twice"),
            ("{values: [13]}", "with training.params.rate: 13.*bad luck"),
        ],
    )
    def test_wrong_parameters(self, study: Callable[..., Path], entry: str, told: str) -> None:
        text = f"version: 1\nsearch: random\nmetric: nll\nparameters: {{training.params.rate: {entry}}}\n"
        with pytest.raises(ConfigError, match=told):
            Sweep.from_file(study(text))

    def test_optuna_that_is_not_installed(self, study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("xai_core.engine.sweepspace.find_spec", lambda _name: None)
        with pytest.raises(InputError, match=r"pip install 'xai-core\[optuna\]'"):
            Sweep.from_file(study(SWEEP + "search: optuna\n"))


class TestOptuna:
    TEXT = (
        "version: 1\nsearch: optuna\ntrials: 2\nmetric: nll\n"
        "parameters:\n  training.params.rate: {low: 0.001, high: 10.0, log: true}\n"
        "  model.params.width: {low: 1, high: 64}\n"
    )

    def test_proposes_near_what_scored_well(self, study: Callable[..., Path]) -> None:
        """A quadratic in the logarithm: after 30 proposals the best is near the optimum, nearer than a random draw."""
        pytest.importorskip("optuna")
        search = Sweep.from_file(study(self.TEXT))
        history: list[tuple[dict[str, Any], float | None]] = []
        for turn in range(40):
            values = propose(search.file, history, turn)
            assert isinstance(values["model.params.width"], int)
            history.append((values, (math.log10(values["training.params.rate"]) - 0.3) ** 2))
        late = [score for _, score in history[25:] if score is not None]
        early = [score for _, score in history[:10] if score is not None]
        assert np.median(late) < np.median(early) / 4
        assert propose(search.file, history, 7) == propose(search.file, history, 7)

    def test_each_outer_fold_is_searched_on_its_own(self, study: Callable[..., Path]) -> None:
        pytest.importorskip("optuna")
        search = Sweep.from_file(study(self.TEXT))
        found = search.run()
        rows = table(search.folder / "sweep.tsv")
        assert len(rows) == len(Rated.calls) == 2 * 3
        assert rows["trial"].is_unique
        assert found["optimistic"]["best_single"] is None
        assert [choice["tried"] for choice in found["chosen"]] == [2, 2, 2]


class Pickling(Executor):
    """What another process would be given, and would give back, but in this one: a fresh one takes seconds."""

    def build(self) -> FuturesExecutor:
        class Pool(ThreadPoolExecutor):
            def submit(self, function: Any, /, *arguments: Any) -> Future[Any]:  # type: ignore[override]
                function, given = pickle.loads(pickle.dumps((function, arguments)))
                return super().submit(lambda: pickle.loads(pickle.dumps(function(*given))))

        return Pool(1)


class TestProcesses:
    def test_the_executor_gives_the_same(self, study: Callable[..., Path]) -> None:
        registry.register("executor", "pickling", Pickling)
        alone = Sweep.from_file(study()).run()
        path = study(SWEEP + "name: there\n", pipeline=PIPELINE + "executor: {name: pickling}\n")
        assert Sweep.from_file(path).run() == alone

    def test_jobs_are_processes(self, study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def pool(jobs: int, **_options: Any) -> ThreadPoolExecutor:
            asked.append(jobs)
            return ThreadPoolExecutor(1)  # the components of this test are not known to another process

        monkeypatch.setattr(sweep_module, "ProcessPoolExecutor", pool)
        alone = Sweep.from_file(study()).run()
        many = Sweep.from_file(study(SWEEP + "name: many\n")).run(jobs=4)
        assert asked == [4]
        assert many == alone


class TestCommand:
    def test_tells_choice_nested_and_optimistic(self, study: Callable[..., Path], xai: Callable[..., Any]) -> None:
        path = study()
        code, out, err = xai("sweep", path)
        assert code == 0, err
        assert "Nested estimate" in out
        assert "Optimistic" in out
        assert out.index("Nested estimate") < out.index("Optimistic")
        assert "best/pipeline.resolved.yaml" in out
        code, out, _ = xai("sweep", path, "--json")
        assert code == 0
        assert json.loads(out)["nested"]["nll"]["value"] > 0
        code, _, err = xai("sweep", path.with_name("none.yaml"))
        assert code == 2
        assert "does not exist" in err
