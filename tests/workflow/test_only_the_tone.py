"""The study of crossed pairs: the planted organisms are GREEN, one that reads the tone and little else is not, and says why."""

import pandas as pd
import pytest
from conftest import World


@pytest.mark.slow
def test_organisms_on_crossed_pairs_are_judged_by_what_was_planted(fresh: World):
    study = fresh.folder / "config/studies/crossed.yaml"
    fresh.run(study)
    council = fresh.folder / "results/crossed/council"
    verdicts = pd.read_csv(council / "tables/verdict.csv").set_index("model")
    assert verdicts["verdict"].to_dict() == {"llama": "GREEN", "qwen2": "GREEN", "control": "RED"}
    assert "crossed factors" in verdicts.loc["control", "failed_checks"]
    checks = pd.read_csv(council / "tables/checks.csv").query("check == 'crossed factors'").set_index("model")
    assert checks["status"].to_dict() == {"llama": "PASS", "qwen2": "PASS", "control": "FAIL"}
    details = pd.read_csv(council / "tables/details.csv")
    assert set(details.loc[details["metric"] == "across_level_auroc", "layer"]) == {-1, 0, 1, 2, 3, 4, 5}
    report = (council / "report.md").read_text()
    assert "### Crossed factors" in report and "Tone (`tone`): felt or plain." in report and "| situations |" in report
    assert fresh.plan(study) == {}
