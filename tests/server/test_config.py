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


def test_lists_come_from_flags_environment_and_file(tmp_path):
    file = tmp_path / "honed.toml"
    file.write_text('redact = ["iban"]\n')
    environment = {"HONED_CONFIG": str(file)}
    assert load_config([], environment).redact == ["iban"]
    assert load_config([], {"HONED_REDACT": "email, card"}).redact == ["email", "card"]
    config = load_config(["--redact", "phone"], environment)
    assert config.redactor("call +49 170 1234567") == "call [phone]"
    with pytest.raises(ConfigError, match="redact"):
        load_config(["--redact", "name"], {})


def test_who_is_trusted_as_much_as_anybody_is_trusted():
    config = load_config(["--submitter-trust", "import=1,intern=0.5"], {})
    assert config.trusted == {"import"}


def test_the_policy_of_models_that_were_given_none_is_a_setting() -> None:
    config = load_config(["--policy", "promotion=manual,alpha=0.01"], {})
    assert (config.policy["promotion"], config.policy["alpha"]) == ("manual", 0.01)
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        load_config([], {"HONED_POLICY": "alfa=0.1"})
    with pytest.raises(ConfigError, match="above 0 and at most"):
        load_config(["--policy", "alpha=2"], {})
