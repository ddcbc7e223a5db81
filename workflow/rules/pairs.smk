# Pairs from elsewhere: a file with a known SHA-256, or what language models write, on demand, by `snakemake write_pairs`.

if STUDY.pairs and STUDY.pairs.url:

    rule download:
        output:
            STUDY.pairs_path,
        log:
            ROOT / "logs/download.log",
        localrule: True
        params:
            url=shlex.quote(STUDY.pairs.url),
            sha256=STUDY.pairs.sha256,
        shell:
            "probesteer download {params.url} --sha256 {params.sha256} --output {output} 2> {log}"


rule write_pairs:
    input:
        STUDY.concept_folder / "concept.yaml",
    output:
        pairs=ROOT / "written/pairs.jsonl",
    log:
        ROOT / "logs/write_pairs.log",
    localrule: True
    params:
        concept=STUDY.concept_folder,
        generators=[shlex.quote(one) for one in STUDY.writing.generators] if STUDY.writing else [],
        pairs=STUDY.writing.pairs if STUDY.writing else 0,
        responses=ROOT / "written/responses",  # kept: what is there is not asked for again
    shell:
        "probesteer write-pairs --concept {params.concept} --generator {params.generators} --pairs {params.pairs}"
        " --responses {params.responses} --output {output.pairs} 2> >(tee {log} >&2)"
