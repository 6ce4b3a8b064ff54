"""Small data for measurements that must be over soon."""

from pathlib import Path


def small_rows(classes: int) -> list[tuple[str, str]]:
    """Texts of 1 to 28 words with their labels."""
    return [(f"{'word ' * (n + 1)}".strip(), f"label {n % classes}") for n in range(28)]


def write_rows(path: Path, rows: list[tuple[str, str]]) -> Path:
    """A CSV file as the data sets have them."""
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path
