"""What a model card is made from: the checkpoint's record, and the records of its run as far as they are there.

    source = read_card_source(model, run, name="org/helpful-rm")

A checkpoint that stands alone (exported, averaged, imported) has no run: its card says less, and says that it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.errors import RunDirectoryError
from rewardsmith.records import CheckpointRecord, read_record
from rewardsmith.records.bounded import parse_json
from rewardsmith.report.formatting import visible
from rewardsmith.report.reading import RunRecords, read_run

RECORD = "rewardsmith.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".jsonl", ".json", ".csv", ".parquet", ".gz")


@dataclass(frozen=True, slots=True)
class CardSource:
    """A checkpoint and what is known of it.

    Attributes:
        name: what the card calls the model; the repository's id where it is published.
        published: whether `name` is a repository of the hub.
        adapter: whether the folder holds an adapter on `base` rather than whole weights.
        base: hub id of the base model; empty where it came from a folder, which is nobody else's business.
        attached: names of files that lie beside the card in the repository.
        texts: whether the card may quote users' texts.
    """

    checkpoint: CheckpointRecord
    records: RunRecords
    name: str
    published: bool = False
    adapter: bool = False
    base: str = ""
    attached: tuple[str, ...] = ()
    texts: bool = False


def read_card_source(
    model: Path,
    run: Path | None = None,
    *,
    repository: str = "",
    attached: tuple[str, ...] = (),
    texts: bool = False,
) -> CardSource:
    """Read what a card needs.

    Args:
        model: the checkpoint's folder.
        run: its run directory; None where it has none.
        repository: the hub repository that the card will stand in; the folder's own name where there is none.
        attached: files that will lie beside it.
        texts: whether it may quote users' texts.

    Raises:
        RunDirectoryError: the folder is no checkpoint of Rewardsmith, or a record cannot be read.
    """
    if not (model / RECORD).is_file():
        raise RunDirectoryError(
            f"has no {RECORD}: it is no checkpoint of Rewardsmith",
            where=str(model),
            fix="name a run directory or its model/; or import it first: rewardsmith export --to hf",
        )
    checkpoint = read_record(model / RECORD, CheckpointRecord)
    records = read_run(run) if run else RunRecords()
    adapter = model / "adapter_config.json"
    told = parse_json(adapter.read_text(encoding="utf-8")) if adapter.is_file() else {}
    base = str(told.get("base_model_name_or_path", "")) if told else checkpoint.base_model
    title = visible(records.manifest.name if records.manifest else model.resolve().name, 80)
    return CardSource(
        checkpoint=checkpoint,
        records=records,
        name=repository or title,
        published=bool(repository),
        adapter=bool(told),
        base=hub_id(base),
        attached=attached,
        texts=texts,
    )


def hub_id(name: str) -> str:
    """The name where it is a hub id; empty for a folder, a file, and what Rewardsmith makes itself."""
    known = _HUB_ID.fullmatch(name) and not name.endswith(_FILES) and not Path(name).exists()
    return name if known else ""
