"""A node's document is the user's, with the registry in it."""

from __future__ import annotations

import pytest
import yaml

from skerry_lab.cloudconfig import MIRROR_PATH, with_lab
from skerry_lab.errors import LabError


def test_the_users_own_words_stay() -> None:
    text = "#cloud-config\nhostname: mine\nwrite-files:\n  - path: /etc/x\n    content: y\n"
    made = with_lab(text, hostname="one", registry="10.0.2.2:5000")
    assert made.startswith("#cloud-config\n")
    document = yaml.safe_load(made)
    assert document["hostname"] == "mine"
    assert [file["path"] for file in document["write_files"]] == ["/etc/x", MIRROR_PATH]
    assert 'location = "10.0.2.2:5000"' in document["write_files"][1]["content"]


def test_without_a_document_the_node_is_named() -> None:
    assert yaml.safe_load(with_lab("", hostname="one")) == {"hostname": "one"}


@pytest.mark.parametrize("text", ["hostname: x\n", "#cloud-config\n- a\n", "#cloud-config\na: [\n"])
def test_what_is_no_cloud_config_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="the cloud-config"):
        with_lab(text, hostname="one")


def test_files_that_the_node_needs_come_after_the_users() -> None:
    text = "#cloud-config\nwrite_files:\n  - path: /etc/x\n    content: y\n"
    document = yaml.safe_load(with_lab(text, hostname="one", files={"/etc/z": "of the lab\n"}))
    assert document["write_files"] == [
        {"path": "/etc/x", "content": "y"},
        {"path": "/etc/z", "content": "of the lab\n"},
    ]
