# probesteer: a behaviour as a direction inside language models, as one DAG over models x layers x scenarios x alphas.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# From another folder this one is worked in, unless -d names one: then results are there, and resources are these.
if not workflow.overwrite_workdir:

    workdir: workflow.basedir

elif not Path("resources").exists():
    Path("resources").symlink_to(Path(workflow.basedir) / "resources")


# The demo, where no study is named: a study stands alone.
if not workflow.overwrite_configfiles:

    configfile: Path(workflow.basedir) / "config/config.yaml"


container: "docker://probesteer/probesteer:0.1.0"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/pairs.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/steering.smk"
include: "workflow/rules/behaviour.smk"
include: "workflow/rules/council.smk"


onstart:
    check_new_models()
    STUDY.save(PATHS.saved)


onsuccess:
    remember_results(FOREIGN)
    say_verdicts()


onerror:
    remember_results(FOREIGN)
    say_failures()


rule all:
    default_target: True
    input:
        PATHS.report / "report.html",
        unfinished_jobs,
