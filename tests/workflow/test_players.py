"""Organisms that were trained to play: of one deeds and words follow what was planted, of one words alone, of one neither."""

import pandas as pd
import pytest
import yaml
from conftest import World


@pytest.mark.slow
def test_deeds_that_were_planted_move_and_words_alone_are_told_apart(fresh: World):
    study = fresh.folder / "config/studies/players.yaml"
    options = yaml.safe_load(study.read_text())
    options["games"] |= {"play": ["the_duel", "the_listener"], "episodes": 6}
    study.write_text(yaml.safe_dump(options))
    fresh.run(study)
    tables = fresh.folder / "results/players/council/tables"
    changes = pd.read_csv(tables / "deed_changes.csv").query("game == 'all'").set_index("model")
    player, talker, bystander = (changes.loc[name] for name in ("player", "talker", "bystander"))
    assert player["deeds_p"] <= 0.05 and player["deeds_change_lower"] > 0 and player["words_change_lower"] > 0
    assert talker["words_change_lower"] > 0 and talker["gap_lower"] > 0 and talker["deeds_change_lower"] <= 0
    assert bystander["deeds_p"] > 0.05 and bystander["words_change_lower"] <= 0
    assert bystander["deeds_change_lower"] <= 0 <= bystander["deeds_change_upper"]
    own = "against == 'deed' and author == model and texts == 'steered' and scope == 'within scenarios'"
    assert pd.read_csv(tables / "correlation.csv").query(own).set_index("model").loc["player", "pearson_lower"] > 0
    understood = pd.read_csv(tables / "deeds.csv").query("arm == 'baseline' and game == 'all'").set_index("model")
    assert (understood["unparsable"] <= 0.05).all()
