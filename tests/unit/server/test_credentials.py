"""Certificates, the token and kubeconfig files."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from antei.server.authentication import ADMIN, Authenticator, ServiceAccountTokens
from antei.server.caller import ANONYMOUS
from antei.server.certificates import ensure_certificates, ensure_signing_key
from antei.server.kubeconfig import kubeconfig, kubeconfig_text, merge_kubeconfig, write_kubeconfig
from antei.server.tokens import ensure_token
from antei.store.memory import MemoryStore
from antei.world.virtual import SeededChance, virtual_world

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def names(file: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in held}


def test_certificates_are_made_once_and_name_all_that_the_server_is_called(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, NOW, ["10.9.8.7", "antei.test"])
    expected = {"localhost", "127.0.0.1", "::1", "10.96.0.1", "kubernetes.default.svc", "10.9.8.7", "antei.test"}
    assert expected <= names(made.certificate_file)
    assert all(mode(file) == 0o600 for file in (tmp_path / "pki").iterdir())
    before = made.certificate_file.read_bytes()
    assert ensure_certificates(tmp_path, NOW, ["antei.test"]).certificate_file.read_bytes() == before
    authority = x509.load_pem_x509_certificate(made.ca_pem.encode())
    x509.load_pem_x509_certificate(before).verify_directly_issued_by(authority)


def test_a_new_name_or_a_late_hour_makes_a_new_certificate_by_the_same_authority(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, NOW)
    first = made.certificate_file.read_bytes()
    again = ensure_certificates(tmp_path, NOW, ["new.test"])
    assert again.ca_pem == made.ca_pem
    second = again.certificate_file.read_bytes()
    assert second != first
    ensure_certificates(tmp_path, NOW + timedelta(days=3640), ["new.test"])
    assert made.certificate_file.read_bytes() != second


def test_the_token_is_kept_and_compared_whole(tmp_path: Path) -> None:
    token = ensure_token(tmp_path, SeededChance(1))
    assert ensure_token(tmp_path, SeededChance(2)) == token
    assert mode(tmp_path / "token") == 0o600
    world = virtual_world(1)
    tokens = ServiceAccountTokens(ensure_signing_key(tmp_path), MemoryStore(), world)
    authenticator = Authenticator(token, tokens)
    assert mode(tmp_path / "pki" / "sa.key") == 0o600
    assert authenticator.authenticate(None) is ANONYMOUS
    assert authenticator.authenticate(f"Bearer {token}".encode()) is ADMIN
    assert authenticator.authenticate(f"bearer {token}".encode()) is ADMIN
    for wrong in (b"", b"Bearer", b"Bearer ", f"Bearer {token[:-1]}".encode(), f"Basic {token}".encode()):
        assert authenticator.authenticate(wrong) is None


def test_a_kubeconfig_names_the_cluster(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "kubeconfig"
    write_kubeconfig(file, kubeconfig_text("https://127.0.0.1:1", "PEM", "secret", "demo"))
    assert mode(file) == 0o600
    config = yaml.safe_load(file.read_text())
    assert config["current-context"] == "antei-demo"
    assert config["users"][0]["user"] == {"token": "secret"}


def test_merging_keeps_what_is_there_and_replaces_what_is_ours(tmp_path: Path) -> None:
    file = tmp_path / "config"
    theirs = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {"colors": True},
        "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
        "users": [{"name": "work", "user": {"token": "theirs"}}],
        "contexts": [{"name": "work", "context": {"cluster": "work", "user": "work"}}],
        "current-context": "work",
    }
    file.write_text(yaml.safe_dump(theirs))
    link = tmp_path / "link"
    link.symlink_to(file)
    for token in ("old", "new"):
        merge_kubeconfig(link, kubeconfig("https://127.0.0.1:1", "PEM", token))
    merged = yaml.safe_load(file.read_text())
    assert link.is_symlink()
    assert [entry["name"] for entry in merged["clusters"]] == ["work", "antei"]
    assert merged["users"][1]["user"]["token"] == "new"
    assert merged["preferences"] == {"colors": True}
    assert merged["current-context"] == "antei"
    assert mode(file) == 0o600


@pytest.mark.parametrize("text", ["kind: Pod\n", "- 1\n", "a: [", "kind: Config\nclusters: x\n"])
def test_what_is_no_kubeconfig_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(ValueError, match="config"):
        merge_kubeconfig(file, kubeconfig("https://127.0.0.1:1", "PEM", "t"))
    assert file.read_text() == text


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    file = tmp_path / ".kube" / "config"
    merge_kubeconfig(file, kubeconfig("https://127.0.0.1:1", "PEM", "t"))
    assert yaml.safe_load(file.read_text())["kind"] == "Config"
