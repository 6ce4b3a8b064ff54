"""A trained encoder on its way into the encoder store: written, packed, and checked against torch.

It stands between `train.py` and every process that encodes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from honed_adapt.encoders.lineage import Lineage, write_lineage
from honed_adapt.encoders.source import CONFIG, TOKENIZER, WEIGHTS, Checkpoint, Source
from honed_adapt.encoders.store import EncoderDamaged, EncoderFiles, open_encoder, store_encoder
from honed_adapt.encoders.tensors import TensorFile
from honed_adapt.training.train import Trained


def store_trained(home: Path, base: EncoderFiles, trained: Trained, lineage: Lineage) -> str:
    """Bring trained weights into `home/encoders/`; harmless to repeat.

    Args:
        home: the data folder.
        base: the encoder that training began with: same tokenizer, same settings.
        trained: what came out.
        lineage: kept beside it.

    Returns:
        The new encoder's digest.

    Raises:
        EncoderUnsupported: the weights hold NaN or infinity: the training diverged.
        EncoderDamaged: the packed graph does not compute what torch computes.
        OSError: the disk is full or fails; nothing is stored then.
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=home) as aside:
        folder = Path(aside)
        save_file(dict(trained.tensors), folder / WEIGHTS)
        config = base.architecture.config()
        (folder / CONFIG).write_text(json.dumps(config))
        tokenizer = base.tokenizer.read_bytes()
        (folder / TOKENIZER).write_bytes(tokenizer)
        tensors = TensorFile(folder / WEIGHTS, base.architecture.family.prefix)
        checkpoint = Checkpoint(folder, config, base.architecture, tensors)
        digest = store_encoder(Source(checkpoint, base.settings, tokenizer), home)
    stored = open_encoder(home, digest)
    if not len(trained.probes) == len(stored.probes.rows):
        raise EncoderDamaged(f"{stored.folder} has other probes than its base; import both again")
    stored.check(trained.probes, read=stored.weights)
    write_lineage(home, digest, lineage)
    return digest
