# A direction per (model, layer), and what it is worth on held-out pairs.


rule probe:
    input:
        activations_of,
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
    shell:
        "probesteer probe {input} --layer {wildcards.layer} --output {output} 2> {log}"


rule detect:
    input:
        activations=activations_of,
        planted=lambda wildcards: STUDY[wildcards.model].planted(),
    output:
        ROOT / "detection/model={model}/layer={layer}/detection.parquet",
    log:
        ROOT / "logs/detect/{model}.{layer}.log",
    benchmark:
        ROOT / "benchmarks/detect/{model}.{layer}.tsv"
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        seed=STUDY.seed,
        planted=lambda wildcards, input: (f"--planted {shlex.quote(str(input.planted))}" if input.planted else ""),
    shell:
        "probesteer detect {input.activations} --layer {wildcards.layer} --seed {params.seed} {params.planted}"
        " --output {output} 2> {log}"
