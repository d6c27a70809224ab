#!/usr/bin/python
"""Several small files of a host at once: one step over the network instead of two for each."""

import os
import pwd
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: colchis_files
short_description: Write several small files at once
description:
  - Writes files of given content and the folders they need. What is as it should be is left.
options:
  files:
    description: The content of each file by its path.
    type: dict
    required: true
  mode:
    description: The mode of every file.
    type: str
    default: "0644"
  folders:
    description: Folders to make, outer ones first. Of those with only, other files are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {type: path, required: true}
      mode: {type: str, default: "0755"}
      only: {type: bool, default: false}
  owner:
    description: The user to whom all of it belongs; in check mode he need not be there.
    type: str
    default: root
"""

FOLDER = {
    "path": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0755"},
    "only": {"type": "bool", "default": False},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "mode": {"type": "str", "default": "0644"},
            "folders": {"type": "list", "elements": "dict", "default": [], "options": FOLDER},
            "owner": {"type": "str", "default": "root"},
        },
        supports_check_mode=True,
    )
    owner, mode = module.params["owner"], module.params["mode"]
    files = {Path(path): content for path, content in module.params["files"].items()}
    changed, diff = [], []

    def belongs(path, mode):
        """Whether a path has the owner and mode wanted; seen to, outside check mode."""
        try:
            wanted = pwd.getpwnam(owner).pw_uid
        except KeyError:
            if module.check_mode:
                return False
            module.fail_json(msg=f"{path}: there is no user {owner}")
        found = path.stat()
        if (found.st_uid, found.st_mode & 0o7777) == (wanted, int(mode, 8)):
            return True
        if not module.check_mode:
            os.chown(path, wanted, -1)
            path.chmod(int(mode, 8))
        return False

    def write(path, content):
        # Mode 0600 until it has its owner: what is secret is at no time open to others.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".colchis-")
        with os.fdopen(handle, "wb") as made:
            made.write(content.encode())
        belongs(Path(name), mode)
        Path(name).replace(path)

    for folder in module.params["folders"]:
        path = Path(folder["path"])
        if not path.is_dir():
            changed.append(path)
            if not module.check_mode:
                path.mkdir(mode=0o700, parents=True)
                belongs(path, folder["mode"])
        elif not belongs(path, folder["mode"]):
            changed.append(path)
        if folder["only"] and path.is_dir():
            for other in sorted(path.iterdir()):
                if other not in files and not other.is_dir():
                    changed.append(other)
                    if not module.check_mode:
                        other.unlink()

    for path, content in files.items():
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
        if before != content:
            changed.append(path)
            headers = {"before_header": str(path), "after_header": str(path)}
            diff.append({**headers, "before": before or "", "after": content})
            if not module.check_mode:
                write(path, content)
        elif not belongs(path, mode):
            changed.append(path)

    module.exit_json(changed=bool(changed), paths=[str(path) for path in changed], diff=diff)


if __name__ == "__main__":
    main()
