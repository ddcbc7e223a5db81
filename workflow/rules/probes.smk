# A direction per (model, layer), and what the directions of a model are worth on held-out pairs.


rule probe:
    input:
        activations=activations_of,
        planted=lambda wildcards: STUDY[wildcards.model].planted(),
    output:
        ROOT / "probes/model={model}/layer={layer}/probe.safetensors",
    log:
        ROOT / "logs/probe/{model}.{layer}.log",
    benchmark:
        ROOT / "benchmarks/probe/{model}.{layer}.tsv"
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        method=STUDY.method,
        controls=ARMS,
        seed=STUDY.seed,
        planted=planted_option,
    shell:
        "probesteer probe {input.activations} --layer {wildcards.layer} --method {params.method}"
        " --controls={params.controls} --seed {params.seed} {params.planted} --output {output} 2> {log}"


# All layers of a model together: the choice of one is part of what is tested.
rule detect:
    input:
        activations=activations_of,
        planted=lambda wildcards: STUDY[wildcards.model].planted(),
        words=WORDS,
        control=control_activations_of,
    output:
        ROOT / "detection/model={model}/detection.parquet",
    log:
        ROOT / "logs/detect/{model}.log",
    benchmark:
        ROOT / "benchmarks/detect/{model}.tsv"
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        layers=lambda wildcards: comma(STUDY.layers_of(STUDY[wildcards.model])),
        seed=STUDY.seed,
        planted=planted_option,
        control=control_option,
        words=lambda wildcards, input: (f"--words {shlex.quote(str(input.words))}" if input.words else ""),
    shell:
        "probesteer detect {input.activations} --layer={params.layers} --seed {params.seed} {params.planted} {params.words}"
        " {params.control} --output {output} 2> {log}"
