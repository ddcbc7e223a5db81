# The report: verifies that everything was made from what the study says, joins what the stages wrote, and judges it.


rule aggregate:
    input:
        [PATHS.data_card(pairs.concept, pairs.key) for pairs in PAIR_SETS.values()],
        [PATHS.card(model.name, model.key) for model in STUDY.models],
        [PATHS.detection(model.name) for model in STUDY.models],
        [PATHS.effects(model.name, EFFECTS[0]) for model in STUDY.steered],
        [PATHS.forecast(model.name) for model in STUDY.steered],
        [path for model in STUDY.models for path in STUDY.comparisons(model)],
        [PATHS.compared(model.name, "causes") for model in STUDY.models if STUDY.compare.causes],
        [PATHS.correlation(model.name, CORRELATION[0]) for model in STUDY.steered if STUDY.correlation],
        [PATHS.deeds(model.name, GAME_TABLES[0]) for model in STUDY.players],
    output:
        # `update`: the last good report stays until the new one is whole.
        study=update(PATHS.report / studies.SAVED),
        evidence=update(PATHS.report / studies.EVIDENCE),
        about=update(PATHS.report / studies.ABOUT),
        manifest=update(PATHS.report / studies.MANIFEST),
        page=update(
            report(
                PATHS.report / studies.PAGE,
                category="Council report",
                labels={"page": "What was found, and why to believe it"},
                caption="../report/council.rst",
            )
        ),
        text=update(PATHS.report / "report.md"),
        explorer=update(
            report(
                PATHS.report / studies.EXPLORER,
                category="Council report",
                labels={"page": "Every sample and table"},
                caption="../report/explorer.rst",
            )
        ),
        tables=update([listed_table(name) for name in STUDY.tables]),
        figures=update([listed_figure(name) for name in STUDY.figures]),
        prints=update(expand(PATHS.report / "figures/{name}.{kind}", name=STUDY.figures, kind=["png", "pdf", "csv"])),
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
