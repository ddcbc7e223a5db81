# From cells to texts to scores, per model: a sweep that ran marks all its cells as new, so nothing hangs off a single cell.


rule texts:
    input:
        # One cell stands for all of its job, which `all` asks for one by one: half as many files to plan.
        lambda wildcards: [cells[0].path(STUDY.cells_root) for cells in STUDY.jobs_cells(STUDY[wildcards.model])],
    output:
        ROOT / "texts/model={model}/texts.parquet",
    log:
        ROOT / "logs/texts/{model}.log",
    group:
        "scores"
    resources:
        **LIGHT_JOB,
    params:
        cells=STUDY.cells_root,
        concept=STUDY.concept_folder,
        scenarios=comma(STUDY.scenarios),
        layers=lambda wildcards: comma(STUDY.steering_layers_of(STUDY[wildcards.model])),
        alphas=lambda wildcards: comma(map(studies.alpha_label, STUDY.alphas_of(STUDY[wildcards.model]))),
        controls=CONTROLS,
    shell:
        "probesteer texts --cells {params.cells} --model {wildcards.model} --concept {params.concept}"
        " --layers {params.layers} --scenarios {params.scenarios} --alphas={params.alphas} {params.controls}"
        " --output {output} 2> {log}"


rule score:
    input:
        texts=ROOT / "texts/model={model}/texts.parquet",
        concept=STUDY.concept_folder / "concept.yaml",
    output:
        ROOT / "scores/model={model}/scorer={scorer}/scores.parquet",
    log:
        ROOT / "logs/score/{model}.{scorer}.log",
    benchmark:
        ROOT / "benchmarks/score/{model}.{scorer}.tsv"
    wildcard_constraints:
        scorer="(?!rubric).*",
    group:
        "scores"
    resources:
        **LIGHT_JOB,
    params:
        concept=STUDY.concept_folder,
    shell:
        "probesteer score {input.texts} --scorer {wildcards.scorer} --concept {params.concept} --output {output} 2> {log}"


rule judge:
    input:
        texts=ROOT / "texts/model={model}/texts.parquet",
        concept=STUDY.concept_folder / "concept.yaml",
        card=JUDGE_CARDS,
        weights=judge_weights,
    output:
        ROOT / "scores/model={model}/scorer=rubric/scores.parquet",
    log:
        ROOT / "logs/score/{model}.rubric.log",
    benchmark:
        ROOT / "benchmarks/score/{model}.rubric.tsv"
    resources:
        **JUDGE_JOB,
    params:
        concept=STUDY.concept_folder,
        judge=judge_options,
    shell:
        "probesteer score {input.texts} --scorer rubric {params.judge} --concept {params.concept} --output {output} 2> {log}"
