"""The published documentation, followed as a new user would: what is typed and what becomes a file is read from it."""

import re

import pytest
import yaml

from support import rst
from support.judge import judge
from support.machine import Machine
from support.paths import CI, HUB, PROJECT, SPOKE

DOCUMENT = (CI / "checks/fixtures/pattoo_agent_os.rst").read_text()
PROGRAMS = (SPOKE, HUB)
INSTALLED = "/usr/local/lib/pattoo"
DIRECTORY = "/path/to/configuration/directory"


class Reader:
    """A new user on a machine with the programs installed, who types what the document says, in its order."""

    def __init__(self, machine, document):
        self.machine, self.document = machine, document
        self.exported, self.typed, self.files = {}, [], []
        machine.run("rm", "-rf", DIRECTORY)
        self.profile = ""

    def type(self, command):
        """One line, in a shell that has what was exported before, in the folder of the installed programs."""
        self.typed.append(command)
        exports = "".join(f"export {name}={value}\n" for name, value in self.exported.items())
        script = f"cd {INSTALLED}\n{exports}{command}"
        done = self.machine.run("bash", "-o", "pipefail", "-c", script, check=False)
        exported = re.fullmatch(r"export (\w+)=(\S+)", command)
        if exported:
            self.exported[exported[1]] = exported[2]
            self.machine.run("mkdir", "-p", exported[2])
        return done

    def save(self, name, text):
        self.files.append(name)
        path = f"{self.exported['PATTOO_CONFIGDIR']}/{name}"
        self.machine.run("python3", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", path, text)

    def follow(self):
        """Every block of the document; what each command said."""
        said = []
        for block in rst.blocks(self.document):
            if block.language == "yaml":
                (section,) = yaml.safe_load(block.text)
                self.save(f"{section}.yaml", block.text + "\n")
            else:
                assert block.language == "bash", block
                for command, printed in block.commands():
                    done = self.type(command)
                    said.append((block.heading, command, printed, done))
                if "PATTOO_CONFIGDIR" in self.exported and "pattoo.yaml" not in self.files:
                    # "Configure the pattoo.yaml file following the steps in configuration": the installed example.
                    self.save("pattoo.yaml", (PROJECT / "deploy/examples/pattoo.yaml").read_text())
        return said


@pytest.fixture(scope="module")
def machine(binaries, tmp_path_factory):
    with Machine(tmp_path_factory.mktemp("documentation") / "m", shown=[binaries[SPOKE].parent]) as machine:
        machine.run("bash", str(PROJECT / "deploy/install"), "--from", str(binaries[SPOKE].parent))
        yield machine


@pytest.fixture
def reader(machine):
    made = []

    def make(document=DOCUMENT):
        made.append(Reader(machine, document))
        return made[-1]

    yield make
    for one in made:
        for program in PROGRAMS:
            one.type(f"bin/{program}.py --stop --force")


def test_every_command_and_sample_works(reader):
    it = reader()
    said = it.follow()
    # The document's own list of what there is, so that a parser that misses blocks is found out.
    assert it.files.count("pattoo.yaml") == 1
    assert set(it.files) == {"pattoo.yaml", f"{SPOKE}.yaml", f"{HUB}.yaml"}
    wanted = [f"export PATTOO_CONFIGDIR={DIRECTORY}"] * 2
    for program in PROGRAMS:
        wanted += [f"bin/{program}.py {option}" for option in ("--help", "--start", "--stop", "--restart")]
    assert [command for _, command, _, _ in said] == wanted
    for heading, command, _, done in said:
        assert done.returncode == 0, f"{heading}: {command}\n{done.stdout}{done.stderr}"
    # The last that is typed of each is --restart of what was stopped: both run.
    for program in PROGRAMS:
        assert it.type(f"bin/{program}.py --status").stdout == f"Daemon is running - {program}\n"


def test_help_has_the_options_and_texts_of_the_document(reader):
    it = reader()
    shown = [(command, printed, done) for _, command, printed, done in it.follow() if command.endswith("--help")]
    assert len(shown) == 2
    for command, printed, done in shown:
        options = re.findall(r"^ +(?:-h, )?(--\w+) +(\S.*(?:\n {14,}\S.*)*)", printed, flags=re.MULTILINE)
        assert [name for name, _ in options] == ["--help", "--start", "--stop", "--status", "--restart", "--force"]
        text = " ".join(done.stdout.split())
        for name, about in options:
            # clap's own words for its own option.
            wanted = "Print help" if name == "--help" else " ".join(about.split())
            assert f"{name} {wanted}" in text, f"{command}: {name} {wanted}\n{done.stdout}"


def test_the_page_that_the_document_names_can_be_read(reader):
    it = reader()
    it.follow()
    urls = {text for text in rst.literals(DOCUMENT) if text.startswith("http://localhost")}
    commands = [text for text in rst.literals(DOCUMENT) if text.startswith("curl ")]
    assert urls == {"http://localhost:5000/pattoo-agent-os/300"} and len(commands) == 2
    for command in commands:
        done = it.type(command)
        assert done.returncode == 0, done
        assert '"pattoo_agent_id"' in done.stdout
        if "json_pp" not in command:
            post = judge(done.stdout.encode())
            assert post.interval == 300_000 and post.points


def test_the_lines_of_the_profile_set_the_directory(reader, machine):
    it = reader()
    it.follow()
    (line,) = [text for text, _ in [pair for b in rst.blocks(DOCUMENT) for pair in b.commands()] if text.startswith("export")][1:]
    machine.run("bash", "-c", f"echo '{line}' >>~/.bash_profile")
    done = machine.run("bash", "--login", "-c", f"{INSTALLED}/bin/{SPOKE}.py --status")
    assert done.stdout == f"Daemon is running - {SPOKE}\n"
    assert machine.run("bash", "-c", f"PATTOO_CONFIGDIR=/nowhere {INSTALLED}/bin/{SPOKE}.py --status", check=False).returncode == 2


def test_the_tables_name_options_that_are_known(reader):
    it = reader()
    it.follow()
    table = {}
    for line in re.findall(r"^ +[*-] +-? *``(\w+)``\s*$", DOCUMENT, flags=re.MULTILINE):
        table.setdefault("section" if line in PROGRAMS else "option", []).append(line)
    assert table["section"] == list(PROGRAMS)
    assert table["option"] == ["ip_listen_address", "ip_bind_port", "ip_devices", "ip_address", "bind_port"]
    # What the table calls bind_port, the sample calls ip_bind_port: both are meant.
    sample = next(block.text for block in rst.blocks(DOCUMENT) if block.language == "yaml" and "ip_devices" in block.text)
    it.save(f"{HUB}.yaml", sample.replace("ip_bind_port", "bind_port"))
    assert it.type(f"bin/{HUB}.py --check").returncode == 0
    it.save(f"{SPOKE}.yaml", f'{SPOKE}:\n    ip_listen_address: "0::"\n')
    assert it.type(f"bin/{SPOKE}.py --restart").returncode == 0
    assert it.type("curl --silent --fail 'http://[::1]:5000/pattoo-agent-os/300'").returncode == 0
    assert it.type("curl --silent --fail http://127.0.0.1:5000/pattoo-agent-os/300").returncode != 0


def test_a_changed_document_changes_what_is_done(reader):
    changed = DOCUMENT.replace("ip_bind_port: 5000", "ip_bind_port: 5017", 1)
    changed = changed.replace(f"bin/{HUB}.py --stop", f"bin/{HUB}.py --stopp")
    it = reader(changed)
    said = {command: done for _, command, _, done in it.follow()}
    assert said[f"bin/{HUB}.py --stopp"].returncode == 2
    assert it.type("curl --silent --fail http://localhost:5017/pattoo-agent-os/300").returncode == 0
    broken = DOCUMENT.replace("       ip_bind_port: 5000", "      ip_bind_port: 5000", 1)
    with pytest.raises(yaml.YAMLError):
        reader(broken).follow()
