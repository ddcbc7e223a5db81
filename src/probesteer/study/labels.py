"""What the report's tables and figures are called where they are listed. Light: the Snakefile imports it."""

TABLE_GROUPS = {  # of `snakemake --report`: what a group is about, and its tables with their titles
    "Verdict": {
        "verdict": "Verdict of each model, and what it lacks",
        "checks": "Every check of the council",
        "reassessment": "What changed since the last report",
        "published": "Printed numbers beside ours",
    },
    "Reading": {
        "council": "Each model's selected block",
        "detection": "Every metric of every layer",
        "details": "Baselines, methods, left-out scenarios, geometry",
        "selection": "Choice of the block",
        "forecast": "What each block promises",
    },
    "Steering": {
        "trends": "Trend of each steered block",
        "scenario_trends": "Trend by scenario",
        "dose_response": "Rates by scenario and dose",
        "arms": "Rates of the probe and of control directions",
        "specificity": "The probe among directions of shuffled labels",
        "controls": "Random directions",
        "steering": "Success by cell, rule and scorer",
        "success": "Mean success",
        "prompting": "Prompts instead of pushes",
        "nats": "Prompts and pushes at equal divergence",
        "doses": "How far alpha 1 is",
        "scorer_agreement": "Do scorers and people agree?",
        "anti_steered": "Samples that move the other way",
        "correlation": "Projection against score",
        "binary": "Projection as a classifier",
        "gap": "Best block to read, best block to steer",
        "points": "Texts of the correlation",
        "deeds": "What was done and said in games",
        "deed_changes": "What a push changes in games",
        "examples": "Texts that were not chosen",
        "chosen": "Texts chosen because their score changes",
    },
    "Comparison": {
        "agreement": "Do models agree?",
        "emergence": "Where in depth each model begins to read it",
        "transfer": "Directions carried from model to model",
        "independence": "What is left without another concept",
        "causes": "What patching and ablation show",
        "foretold": "Does evidence foretell the steering?",
        "scale": "Beside the size of the model",
        "scaling": "Does it grow with the model?",
    },
    "Material": {
        "models": "Models",
        "data": "Pairs",
        "cells": "Verified cells",
        "cost": "Time and memory",
    },
}
FIGURE_TITLES = {
    "auroc_by_layer": ("Reading", "AUROC by layer"),
    "random_baseline": ("Reading", "Among directions that know nothing"),
    "lexical_ablation": ("Reading", "Without the words, the form, the model"),
    "cross_model_layers": ("Reading", "Where in depth"),
    "dose_response": ("Steering", "Dose and response"),
    "baseline_behaviour": ("Steering", "Unsteered"),
    "resistance_by_scenario": ("Steering", "Which scenarios resist"),
    "steering_by_layer": ("Steering", "By block"),
    "agreement": ("Comparison", "Do models agree?"),
    "transfer": ("Comparison", "Directions carried from model to model"),
    "causes": ("Comparison", "Where the behaviour is caused"),
    "behavioural_correlation": ("Steering", "Projection and behaviour"),
    "foretold": ("Comparison", "Evidence beside the measured slope"),
}
OTHER = "Other"


def table_label(name: str) -> tuple[str, str]:
    """The group and the title of a table; its name where it has none."""
    for group, tables in TABLE_GROUPS.items():
        if name in tables:
            return group, tables[name]
    return OTHER, name.replace("_", " ")
