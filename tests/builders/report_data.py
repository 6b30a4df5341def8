"""Sections of check.json and label_noise.json as a run would leave them, for the tests of the report.

`text` is appended to every name that comes from users: hostile on request.
"""

from __future__ import annotations

from rewardsmith.records.data import (
    BenchmarkOverlap,
    ClusterExample,
    ClusterSizes,
    ContaminatedRow,
    ContaminationRecord,
    DataBalance,
    DataLabels,
    DataPrivate,
    Languages,
    LanguageShare,
    MarginSummary,
    ModelRate,
    Models,
    NamedCount,
    NamedCounts,
    OverlapRecord,
    PreferenceCycle,
    PrivateKind,
    PromptReuse,
    SourceAgreement,
    SourceForms,
)
from rewardsmith.records.evaluation import LabelAgreement
from rewardsmith.records.texts import (
    BlindModel,
    Estimate,
    FeatureRule,
    GroupRules,
    LengthBin,
    LengthPolicy,
    LengthRule,
    LengthRuleBin,
    LimitEffect,
    LoneRule,
    MarkerCount,
    PrefixStability,
    ShortcutsRecord,
    SourceAccuracy,
    TextEnd,
    TokenSummary,
    TokenWaste,
    UnknownTokens,
    WordRule,
)
from rewardsmith.records.training import LabelNoiseRecord, NoiseBand, NoiseShare, SuspectLabel
from rewardsmith.statistics import wilson_interval


def lone_rule(more: int, less: int, equal: int = 60) -> LoneRule:
    interval = wilson_interval(more, more + less)
    return LoneRule(
        more=more,
        less=less,
        equal=equal,
        effective=more + less,
        coverage=(more + less) / (more + less + equal),
        accuracy=more / (more + less),
        ci_low=interval.low,
        ci_high=interval.high,
        p_value=1e-9,
    )


def estimate(value: float, n: int = 1870) -> Estimate:
    interval = wilson_interval(value * n, n)
    return Estimate(value=value, ci_low=interval.low, ci_high=interval.high)


def shortcuts(text: str = "") -> ShortcutsRecord:
    features = (
        ("lists", "format", "list items", 812, 420, 0.431, 0.22, 0.548, "weak"),
        ("bold", "format", "bold text", 506, 301, 0.34, 0.21, 0.521, "weak"),
        ("hedging", "wording", "hedging", 330, 401, 0.12, 0.16, 0.49, ""),
        ("refusal", "wording", "refusals", 22, 190, 0.012, 0.11, 0.08, "strong"),
        ("emoji", "format", "emoji", 31, 27, 0.02, 0.017, None, ""),
    )
    quantiles = {"p05": 12.0, "p25": 60.0, "p50": 120.0, "p75": 210.0, "p95": 390.0}
    return ShortcutsRecord(
        pairs=1870,
        prompts=1204,
        sampled=1870,
        folds=5,
        rules_compared=40,
        thresholds={"strong": 0.65, "weak": 0.55},
        lengths=tuple(
            LengthRule(
                unit=unit,
                rule=lone_rule(more, 1810 - more),
                grade="weak",
                bins=tuple(
                    LengthRuleBin(low=low, high=high, rule=lone_rule(up, down))
                    for low, high, up, down in ((1.0, 1.25, 301, 280), (1.25, 2.0, 420, 300), (2.0, None, 350, 159))
                ),
                chosen_mean=160.0,
                rejected_mean=131.0,
                chosen_quantiles=quantiles,
                rejected_quantiles=quantiles,
            )
            for unit, more in (("characters", 1090), ("words", 1084), ("tokens", 1071))
        ),
        features=tuple(
            FeatureRule(
                code=code,
                kind=kind,
                meaning=meaning,
                rule=lone_rule(more, less, 1870 - more - less),
                chosen_share=chosen,
                rejected_share=rejected,
                at_equal_length=None if equal is None else estimate(equal, 600),
                grade=grade,
            )
            for code, kind, meaning, more, less, chosen, rejected, equal, grade in features
        ),
        words_compared=4021,
        words=(
            WordRule(
                text="sorry" + text,
                opening=False,
                rule=lone_rule(20, 160),
                log_odds=-2.0,
                z=-9.1,
                at_equal_length=None,
                grade="strong",
            ),
            WordRule(
                text="however",
                opening=False,
                rule=lone_rule(320, 240),
                log_odds=0.3,
                z=3.2,
                at_equal_length=None,
                grade="",
            ),
        ),
        openings=(
            WordRule(
                text="i cannot",
                opening=True,
                rule=lone_rule(12, 130),
                log_odds=-2.2,
                z=-8.4,
                at_equal_length=None,
                grade="strong",
            ),
        ),
        models=tuple(
            BlindModel(
                name=name,
                reads=reads,
                right=round(1870 * value),
                accuracy=estimate(value),
                grade=grade,
                by_source=(
                    SourceAccuracy(
                        source="pairs/helpful.jsonl" + text, pairs=1381, accuracy=estimate(value, 1381), grade=grade
                    ),
                ),
            )
            for name, reads, value, grade in (
                ("length", "response lengths", 0.589, "weak"),
                ("surface", "surface features", 0.641, "weak"),
                ("words", "words of the responses", 0.702, "strong"),
            )
        ),
        sources=(
            GroupRules(
                source="pairs/helpful.jsonl" + text,
                pairs=1281,
                rules={"tokens": lone_rule(880, 360)},
                grades={"tokens": "strong"},
            ),
            GroupRules(
                source="pairs/safety.csv", pairs=589, rules={"tokens": lone_rule(191, 379)}, grades={"tokens": "strong"}
            ),
        ),
        subsets=(
            GroupRules(
                source="pairs/helpful.jsonl",
                subset="helpful" + text,
                pairs=1281,
                rules={"tokens": lone_rule(880, 360)},
                grades={},
            ),
        ),
    )


def contamination(text: str = "") -> ContaminationRecord:
    return ContaminationRecord(
        benchmarks=(
            BenchmarkOverlap(
                benchmark="rewardbench2",
                subset="",
                rows=640,
                touched=9,
                share=9 / 640,
                ci_low=0.0074,
                ci_high=0.0265,
                training_pairs=14,
                equal=6,
                ngrams=2,
                near=1,
            ),
            BenchmarkOverlap(
                benchmark="rewardbench2",
                subset="Math" + text,
                rows=120,
                touched=9,
                share=0.075,
                ci_low=0.04,
                ci_high=0.1363,
                training_pairs=14,
                equal=6,
                ngrams=2,
                near=1,
            ),
            BenchmarkOverlap(
                benchmark="rewardbench2",
                subset="Focus",
                rows=120,
                touched=0,
                share=0.0,
                ci_low=0.0,
                ci_high=0.031,
                training_pairs=0,
                equal=0,
                ngrams=0,
                near=0,
            ),
        ),
        training_pairs=1870,
        contaminated_pairs=14,
        examples=(
            ContaminatedRow(
                benchmark="rewardbench2",
                subset="Math" + text,
                id="m-7" + text,
                file="pairs/helpful.jsonl" + text,
                row=77,
                rule="ngrams",
                share=0.81,
            ),
        ),
    )


def overlap(text: str = "") -> OverlapRecord:
    return OverlapRecord(
        training_pairs=1870,
        distinct_prompts=1204,
        prompt_clusters=1102,
        effective_prompts=641.2,
        short_prompts=31,
        sizes=(
            ClusterSizes(low=1, high=1, clusters=801, pairs=801),
            ClusterSizes(low=2, high=3, clusters=240, pairs=560),
            ClusterSizes(low=4, high=7, clusters=58, pairs=301),
            ClusterSizes(low=8, high=None, clusters=3, pairs=208),
        ),
        largest=(
            ClusterExample(pairs=120, prompts=31, file="pairs/safety.csv" + text, row=12),
            ClusterExample(pairs=51, prompts=9, file="pairs/helpful.jsonl", row=301),
        ),
        duplicate_pairs=88,
        pair_clusters=40,
        duplicate_share=88 / 1870,
        ci_low=0.0383,
        ci_high=0.0576,
        leaked_prompts=0,
        near_leaked_prompts=2,
        leaked_turns=0,
    )


def labels(text: str = "") -> DataLabels:
    return DataLabels(
        pairs=1970,
        distinct_pairs=1961,
        repeated=9,
        contradictory=4,
        contradictory_comparisons=2,
        cyclic=3,
        cycles=1,
        shown=(
            PreferenceCycle(rows=(f"pairs/helpful.jsonl{text}:4", "pairs/helpful.jsonl:90", "pairs/helpful.jsonl:214")),
        ),
        margins=(
            MarginSummary(
                source="pairs/helpful.jsonl" + text,
                stated=1381,
                unread=2,
                zero=11,
                negative=7,
                negative_ci=(0.0025, 0.0104),
                out_of_range=1,
                allowed=(0.0, 4.0),
                declared=False,
                quantiles={"min": -1.0, "p05": 0.5, "p50": 1.5, "p95": 3.5, "max": 11.0},
                edges=(0.0, 2.0, 4.0),
                counts=(900, 472),
            ),
        ),
    )


def balance(text: str = "") -> DataBalance:
    agreement = LabelAgreement(
        comparisons=210, labels=430, agreement=0.71, agreement_ci=(0.646, 0.767), ceiling_low=0.71, ceiling_high=0.824
    )
    return DataBalance(
        sources=NamedCounts(
            distinct=2,
            effective=1.87,
            most=(
                NamedCount(name="pairs/helpful.jsonl" + text, train=1281, held_out=100),
                NamedCount(name="pairs/safety.csv", train=589, held_out=0),
            ),
        ),
        subsets=NamedCounts(
            distinct=14,
            effective=9.1,
            most=tuple(
                NamedCount(name=f"subset {index}{text}", train=300 // index, held_out=10) for index in range(1, 13)
            ),
        ),
        annotators=None,
        models=Models(
            pairs=901,
            distinct=4,
            rule_accuracy=0.74,
            rule_ci=(0.711, 0.768),
            most=(
                ModelRate(model="gpt-9" + text, pairs=420, prompts=402, chosen=0.93, ci_low=0.9, ci_high=0.951),
                ModelRate(model="small-1", pairs=400, prompts=380, chosen=0.18, ci_low=0.145, ci_high=0.222),
            ),
        ),
        forms=(SourceForms(source="pairs/helpful.jsonl" + text, forms={"messages": 1380, "strings": 1}),),
        turns={"1": 1502, "2": 301, "3": 67},
        prompts=PromptReuse(
            pairs=1870,
            distinct=1204,
            effective=902.0,
            effective_simpson=640.1,
            most=120,
            pairs_per_prompt={"1": 803, "2": 300, "3-5": 90, "6+": 11},
        ),
        languages=Languages(
            prompts=1204,
            sampled=1000,
            seed=17,
            by="a language detector",
            shares=(
                LanguageShare(language="en", prompts=931, share=0.931, ci_low=0.914, ci_high=0.945),
                LanguageShare(language="und", prompts=52, share=0.052, ci_low=0.04, ci_high=0.068),
                LanguageShare(language="de", prompts=17, share=0.017, ci_low=0.011, ci_high=0.027),
            ),
        ),
        agreement=(SourceAgreement(source="pairs/helpful.jsonl" + text, agreement=agreement),),
    )


def private(text: str = "") -> DataPrivate:
    return DataPrivate(
        pairs=1970,
        secret_rows=3,
        personal_rows=41,
        kinds=(
            PrivateKind(
                kind="api_key",
                title="API keys" + text,
                group="secret",
                matches=3,
                rows=3,
                prompt_rows=2,
                chosen_rows=1,
                rejected_rows=0,
            ),
            PrivateKind(
                kind="email",
                title="E-mail addresses",
                group="personal",
                matches=64,
                rows=41,
                prompt_rows=30,
                chosen_rows=12,
                rejected_rows=9,
            ),
        ),
        looked_for=("api_key", "email", "phone"),
    )


def tokens(text: str = "") -> TokenSummary:
    return TokenSummary(
        texts=3940,
        tokens=612_440,
        quantiles={"min": 18, "p05": 41, "p50": 138, "p95": 371, "max": 509},
        last_tokens={"<|im_end|>": 3940},
        padded_tokens=1_008_640,
        truncated=0,
        histogram=tuple(
            LengthBin(
                low=32 * index + 1,
                high=32 * index + 32,
                chosen=chosen,
                rejected=rejected,
                left_out=31 if index == 16 else 0,
            )
            for index, (chosen, rejected) in enumerate(
                [
                    (10, 30),
                    (90, 160),
                    (250, 330),
                    (330, 350),
                    (310, 300),
                    (250, 220),
                    (190, 160),
                    (140, 120),
                    (100, 90),
                    (80, 60),
                    (60, 50),
                    (50, 40),
                    (40, 30),
                    (30, 20),
                    (25, 7),
                    (15, 3),
                    (0, 0),
                ]
            )
        ),
        length=LengthPolicy(
            limit=512,
            policy="drop",
            pairs=1901,
            left_out=31,
            left_out_low=0.0115,
            left_out_high=0.023,
            cut=0,
            cut_tokens=0,
            prompt_tokens=180_000,
            differing=410_000,
            differing_lost=0,
            limits=(
                LimitEffect(limit=256, pairs=1901, over=412, differing=410_000, differing_lost=61_000, identical=37),
                LimitEffect(limit=512, pairs=1901, over=31, differing=410_000, differing_lost=4_100, identical=2),
            ),
        ),
        waste=TokenWaste(pairs_per_step=32, padded=1_008_640, packed=612_440, tree=470_210, prompt_tree=431_000),
        ends=(TextEnd(token="." + text, chosen=1700, rejected=1650), TextEnd(token="```", chosen=120, rejected=90)),
        markers=(MarkerCount(text="<|im_start|>" + text, kind="special", pairs=2, prompt=1, chosen=1, rejected=0),),
        prefix=PrefixStability(
            pairs=1970, text=0, text_low=0.0, text_high=0.002, tokens=12, tokens_low=0.0035, tokens_high=0.0106
        ),
        unknown=UnknownTokens(
            kind="bytes", token="", of=3940, texts=0, texts_low=None, texts_high=None, tokens=0, share=0.0
        ),
        mentions_date=True,
    )


def label_noise(text: str = "") -> LabelNoiseRecord:
    shares = (
        (0.48, 0.49),
        (0.41, 0.44),
        (0.34, 0.35),
        (0.27, 0.31),
        (0.21, 0.24),
        (0.16, 0.2),
        (0.11, 0.15),
        (0.07, 0.11),
        (0.04, 0.09),
        (0.02, 0.062),
    )
    return LabelNoiseRecord(
        fingerprint="f9" * 32,
        pairs=1870,
        share=0.051,
        ci_low=0.038,
        ci_high=0.066,
        contradicted=0.244,
        likely=64,
        rescored=1000,
        verdict="some",
        statement="About 5.1 % of the labels (3.8 to 6.6 %) contradict what the other pairs teach" + text,
        bands=tuple(
            NoiseBand(
                n=187,
                doubt=doubt,
                contradicted=seen,
                ci_low=max(0.0, seen - 0.05),
                ci_high=seen + 0.06,
                expected=0.051 + 0.898 * doubt,
            )
            for doubt, seen in shares
        ),
        groups=(
            NoiseShare(
                source="pairs/helpful.jsonl" + text, subset="helpful", n=1281, share=0.012, ci_low=0.004, ci_high=0.024
            ),
            NoiseShare(source="pairs/safety.csv", subset="", n=589, share=0.14, ci_low=0.108, ci_high=0.176),
        ),
        suspects=tuple(
            SuspectLabel(
                id=f"s-{index}{text}",
                source="pairs/safety.csv",
                subset="safety" + text,
                file="pairs/safety.csv" + text,
                row=100 + index,
                step=50 - index % 7,
                margin=-6.2 + 0.05 * index,
                probability=0.98 - 0.005 * index,
                final_margin=-5.1 + 0.04 * index if index % 3 else None,
            )
            for index in range(64)
        ),
    )


SECTIONS = {
    "shortcuts": shortcuts,
    "contamination": contamination,
    "overlap": overlap,
    "labels": labels,
    "balance": balance,
    "private": private,
}
"""Field of `CheckRecord` → its section, given a text to append to names."""
