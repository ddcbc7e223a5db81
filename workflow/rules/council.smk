# The report: verifies that everything was made from what the study says, joins what the stages wrote, and judges it.

FIGURES = ["auroc_by_layer"] + (["dose_response"] if STUDY.steered else [])


rule aggregate:
    input:
        [PATHS.data_card(pairs.concept, pairs.key) for pairs in PAIR_SETS.values()],
        [PATHS.card(model.name, model.key) for model in STUDY.models],
        [PATHS.detection(model.name) for model in STUDY.models],
        [PATHS.effects(model.name, EFFECTS[0]) for model in STUDY.steered],
        [PATHS.forecast(model.name) for model in STUDY.steered],
        [PATHS.deeds(model.name, GAME_TABLES[0]) for model in STUDY.players],
    output:
        # `update`: the last good report stays until the new one is whole.
        study=update(PATHS.report / studies.SAVED),
        evidence=update(PATHS.report / studies.EVIDENCE),
        page=update(report(PATHS.report / studies.PAGE, category="Council", caption="../report/council.rst")),
        text=update(PATHS.report / "report.md"),
        tables=update(
            report(
                expand(PATHS.report / "tables/{name}.csv", name=STUDY.tables),
                category="Tables",
                caption="../report/table.rst",
            )
        ),
        figures=update(
            report(
                expand(PATHS.report / "figures/{name}.svg", name=FIGURES),
                category="Figures",
                caption="../report/figure.rst",
            )
        ),
        pictures=update(expand(PATHS.report / "figures/{name}.png", name=FIGURES)),
    log:
        PATHS.report / "aggregate.log",
    retries: 0
    localrule: True
    resources:
        login=1,
    params:
        study=PATHS.saved,
        settings=STUDY.digest(),
    shell:
        "probesteer aggregate --study {params.study:q} 2> {log:q}"
