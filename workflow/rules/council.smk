# The report: verifies that everything was made from what the study says, joins what the stages wrote, and judges it.

FIGURES = ["auroc_by_layer"] + (["dose_response"] if STUDY.steered else [])


rule aggregate:
    input:
        [PATHS.data_card(pairs.concept, pairs.key) for pairs in PAIR_SETS.values()],
        [PATHS.card(model.name, model.key) for model in STUDY.models],
        [PATHS.detection(model.name) for model in STUDY.models],
        [PATHS.effects(model.name, EFFECTS[0]) for model in STUDY.steered],
    output:
        study=PATHS.report / "study.json",
        page=report(PATHS.report / "report.html", category="Council", caption="../report/council.rst"),
        text=PATHS.report / "report.md",
        tables=report(
            expand(PATHS.report / "tables/{name}.csv", name=studies.TABLES),
            category="Tables",
            caption="../report/table.rst",
        ),
        figures=report(
            expand(PATHS.report / "figures/{name}.svg", name=FIGURES),
            category="Figures",
            caption="../report/figure.rst",
        ),
        pictures=expand(PATHS.report / "figures/{name}.png", name=FIGURES),
    log:
        PATHS.report / "aggregate.log",
    retries: 0
    localrule: True
    params:
        study=PATHS.saved,
        settings=STUDY.digest(),
    shell:
        "cp {params.study} {output.study} && probesteer aggregate --study {output.study} 2> {log}"
