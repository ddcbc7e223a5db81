# The report: verifies every cell's fingerprint, writes tables, figures and pages.


rule aggregate:
    input:
        [STUDY.card_path(model) for model in STUDY.models],
        [STUDY.detection_path(model) for model in STUDY.models],
        [STUDY.scores_path(model, scorer) for model in STEERED for scorer in STUDY.scorers],
        [STUDY.probe_path(model, layer) for model in STEERED for layer in STUDY.steering_layers_of(model)],
    output:
        study=REPORT / "study.json",
        page=report(REPORT / "report.html", category="Council", caption="../report/council.rst"),
        text=REPORT / "report.md",
        tables=report(
            expand(REPORT / "tables/{name}.csv", name=studies.TABLES),
            category="Tables",
            caption="../report/table.rst",
        ),
        figures=report(
            expand(REPORT / "figures/{name}.svg", name=FIGURES),
            category="Figures",
            caption="../report/figure.rst",
        ),
        pictures=expand(REPORT / "figures/{name}.png", name=FIGURES),
    log:
        REPORT / "aggregate.log",
    retries: 0
    localrule: True
    params:
        study=STUDY.digest(),
    run:
        STUDY.save(output.study)
        shell("probesteer aggregate --study {output.study} --output {REPORT} 2> {log}")
