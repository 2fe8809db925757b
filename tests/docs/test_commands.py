"""Every `portcullis …` on a page, in an example or in a comment of one is a command that the program takes.

The program's own parser judges: with `--help` at its end a command line is read to there, and nothing is done. What it says of an unknown
subcommand, flag or value it says then too; that a required argument is missing it does not.
"""

import re
import shlex
import subprocess

import pytest

from harness.paths import PROGRAM, ROOT, require
from pages import PAGES, blocks, text_of

# What people copy, and what its comments say to type.
EXAMPLES = [path for folder in ("envoy", "examples", "demo", "dist/examples")
            for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and path.suffix in (".yaml", ".yml", ".conf", ".service", ".py", "")]
# After these, or at the beginning, stands a command.
BEFORE = {"|", "||", "&&", ";", "&", "(", "{", "!", "do", "then", "else", "$", "-", "#", "sudo", "exec", "ExecStart="}


def words(text):
    """A shell's words and operators."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def substitutions(text):
    """What stands in `$(…)` and `<(…)`, to two levels."""
    return re.findall(r"[$<]\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)", text)


def arguments(line):
    """What follows `portcullis` in a command line, for each one in it; redirections taken out."""
    found = [command for inner in substitutions(line) for command in arguments(inner)]
    line = re.sub(r"[$<]\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", "substituted", line)
    command, skip, before = None, False, None
    for word in [*words(line), ";"]:
        operator = bool(re.fullmatch(r"[|&;<>()]+", word))
        if skip:
            skip = False
        elif operator and word[0] in "<>":
            skip = True
            if command and re.fullmatch(r"\d", command[-1]):
                command.pop()
        elif operator:
            if command is not None:
                found.append(command)
            command = None
        elif command is not None:
            command.append(word)
        elif word.rpartition("/")[2] == "portcullis" and (before is None or before in BEFORE or re.fullmatch(r"\w+=\S*", before)):
            command = []
        before = word
    return found


def lines_of(text):
    """A block's logical lines: continuations and quotes that go over a line's end are put together; comments at a line's end are taken off."""
    held = ""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        held = f"{held}\n{line}" if held else re.sub(r"(^|\s)#\s.*$", "", line)
        try:
            words(held)
        except ValueError:
            continue
        yield held
        held = ""


def commands_of_block(block):
    for line in lines_of(block.text):
        if "portcullis" in line:
            # A prompt, an item of a list.
            yield from arguments(re.sub(r"^\s*(\$|-|#)\s+", "", line))


def commands_of_prose(text):
    """Code in a line of prose: the whole of it is a command, or a pipe with one in it."""
    for code in re.findall(r"`([^`\n]*\bportcullis [^`\n]*)`", text):
        # `portcullis …` and `portcullis key …` stand for any.
        if not re.search(r"portcullis [^|]*(…|\.\.\.)", code):
            yield from arguments(code)


def commands_of_example(text):
    text = re.sub(r"\\\n#?\s*", " ", text)
    for line in text.splitlines():
        command = re.match(r"(?:#\s+|ExecStart=\S*/|.*then: )((?:.*(?:&&|\|) )?portcullis (?:[a-z]+-?[a-z]*) .*)$", line)
        if command and "`" not in line and "copy" not in line.lower().split("portcullis")[0]:
            yield from arguments(re.sub(r"\s+#\s.*$", "", command[1]))


def everything():
    for page in PAGES:
        for block in blocks(page):
            for command in commands_of_block(block):
                yield f"{page}:{block.line}", command
        prose = re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.M | re.S)
        for command in commands_of_prose(prose):
            yield page, command
    for path in EXAMPLES:
        text = path.read_text(errors="replace")
        name = path.relative_to(ROOT).as_posix()
        if path.suffix != ".py":
            for command in commands_of_example(text):
                yield name, command
        for command in commands_of_prose(text):
            yield name, command


COMMANDS = sorted({(where, tuple(command)) for where, command in everything() if command})


def taken(command):
    """None, or what the program has against it."""
    require(PROGRAM)
    ran = subprocess.run([PROGRAM, *command, "--help"], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    return None if ran.returncode == 0 else ran.stderr


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_the_program_takes_it(where, command):
    refused = taken(command)
    assert refused is None, f"{where}: portcullis {shlex.join(command)}\n{refused}"


def test_the_commands_are_found():
    assert len(COMMANDS) > 60
    found = {command[0] for _, command in COMMANDS}
    assert found >= {"check", "explain", "aws-token", "audit", "convert", "key", "serve", "schema"}
    line = 'export X=1; eval "$(a)"; KEY=$(portcullis key create --file f --agent orders 2>log) && curl -H "$(portcullis aws-token --header --region r)" x | portcullis check - >out'
    assert arguments(line) == [["key", "create", "--file", "f", "--agent", "orders"], ["aws-token", "--header", "--region", "r"], ["check", "-"]]


@pytest.mark.parametrize("wrong", ["chek x.yaml", "check --deny-warning x.yaml", "key creat", "key create --agents orders", "explain --path", "key rotate ID --expires sometime",
                                   "audit map --format png", "schema x"])
def test_what_the_program_does_not_take_is_noticed(wrong):
    assert taken(wrong.split()) is not None
