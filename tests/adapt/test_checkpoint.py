from pathlib import Path

import pytest

from checkpoints import FAMILIES, save_encoder
from honed_adapt.encoders.checkpoint import Architecture, EncoderUnsupported, read_json


@pytest.fixture(scope="module", params=FAMILIES)
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = save_encoder(tmp_path_factory.mktemp("saved"), request.param)
    return read_json(folder / "config.json")


def test_every_family_is_read_and_written_back(config: dict) -> None:
    architecture = Architecture.of(config)
    assert (architecture.hidden, architecture.layers, architecture.heads) == (32, 2, 4)
    assert architecture.max_tokens == 64
    assert architecture.config().items() <= config.items()
    assert Architecture.of(architecture.config()) == architecture


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model_type", "gpt2"),
        ("model_type", None),
        ("hidden_act", "silu"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("quantization_config", {"quant_method": "bitsandbytes"}),
        ("num_attention_heads", 5),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", True),
        ("hidden_size", "32"),
        ("layer_norm_eps", None),
    ],
)
def test_an_encoder_of_another_kind_is_refused_by_name(
    tmp_path: Path, setting: str, value: object
) -> None:
    config = read_json(save_encoder(tmp_path) / "config.json") | {setting: value}
    with pytest.raises(EncoderUnsupported, match=rf"config\.json: .*{setting}"):
        Architecture.of(config)


def test_another_activation_is_refused_by_the_name_that_the_family_gives_it(tmp_path: Path) -> None:
    config = read_json(save_encoder(tmp_path, "distilbert") / "config.json")
    with pytest.raises(EncoderUnsupported, match=r"^config\.json: activation is 'silu'"):
        Architecture.of(config | {"activation": "silu"})


def test_positions_that_the_padding_uses_up_are_refused(tmp_path: Path) -> None:
    config = read_json(save_encoder(tmp_path, "roberta") / "config.json")
    with pytest.raises(EncoderUnsupported, match="max_position_embeddings"):
        Architecture.of(config | {"pad_token_id": 70})


def test_the_two_names_of_the_tanh_approximation_are_one_computation(tmp_path: Path) -> None:
    config = read_json(save_encoder(tmp_path) / "config.json")
    one, other = (
        Architecture.of(config | {"hidden_act": name}) for name in ("gelu_new", "gelu_pytorch_tanh")
    )
    assert one == other != Architecture.of(config)
