import pytest

from honed_server.config import ConfigError, load_config


def test_flags_win_over_environment_over_file(tmp_path):
    file = tmp_path / "honed.toml"
    file.write_text('port = 1\nhttp_port = 2\nadapt_nice = 3\nhome = "/tmp/from-file"\n')
    environment = {"HONED_CONFIG": str(file), "HONED_HTTP_PORT": "5", "HONED_PORT": "6"}
    config = load_config(["--port", "7", "--no-example"], environment)
    assert (config.port, config.http_port, config.adapt_nice) == (7, 5, 3)
    assert config.example is False
    assert str(config.home) == "/tmp/from-file"


@pytest.mark.parametrize(
    ("flags", "environment", "named"),
    [
        ([], {"HONED_MAX_BATCH_TOKEN": "5"}, "did you mean 'max_batch_tokens'"),
        ([], {"HONED_PORT": "many"}, "port: "),
        (["--port", "70000"], {}, "port: "),
        (["--host", "0.0.0.0"], {}, "only loopback addresses are allowed"),
        (["--host", "example"], {}, "IP address"),
        (
            ["--min-batch-tokens", "500", "--max-batch-tokens", "100"],
            {},
            "min_batch_tokens must not exceed",
        ),
        (["--config", "/nowhere/honed.toml"], {}, "there is no file"),
        (["--submitter-trust", "ann=much"], {}, "submitter_trust"),
    ],
)
def test_wrong_settings_are_refused_by_name(flags, environment, named):
    with pytest.raises(ConfigError, match=named):
        load_config(flags, environment)


def test_unknown_key_in_the_file_is_refused(tmp_path):
    file = tmp_path / "honed.toml"
    file.write_text("max_batch_tokns = 5\n")
    with pytest.raises(ConfigError, match="did you mean 'max_batch_tokens'"):
        load_config(["--config", str(file)], {})
    file.write_text("not toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(["--config", str(file)], {})


def test_tables_come_from_flags_and_file(tmp_path):
    assert load_config(["--submitter-trust", "ann=2,bob=0.5"], {}).submitter_trust == {
        "ann": 2.0,
        "bob": 0.5,
    }
    file = tmp_path / "honed.toml"
    file.write_text("[submitter_trust]\nann = 3\n")
    assert load_config(["--config", str(file)], {}).submitter_trust == {"ann": 3.0}
