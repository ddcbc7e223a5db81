# Pairs that language models write, on demand:  snakemake write_pairs --configfile STUDY. Then name the file in `pairs:` of the study.


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
