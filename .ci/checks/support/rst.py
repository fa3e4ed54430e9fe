"""The code of a document in reStructuredText: its blocks in order, and its inline literals."""

import re
import textwrap
from dataclasses import dataclass


@dataclass
class Block:
    language: str
    text: str
    # Of the section that it stands in.
    heading: str

    def commands(self):
        """What is typed: the lines behind `$ `; where none has one, all of them. Each with what is printed below it."""
        lines = self.text.splitlines()
        if not any(line.startswith("$") for line in lines):
            return [(line, "") for line in lines if line.strip()]
        typed = []
        for line in lines:
            if line.startswith("$"):
                typed.append([line[1:].strip(), []])
            elif typed:
                typed[-1][1].append(line)
        return [(command, "\n".join(printed)) for command, printed in typed if command]


def blocks(text):
    found, heading, lines = [], "", text.splitlines()
    for at, line in enumerate(lines):
        if at and line and re.fullmatch(r"([=\-^~])\1{2,}", line):
            heading = lines[at - 1].strip()
        marked = re.match(r"( *)\.\. code-block:: *(\S+)", line)
        if marked:
            body = []
            for following in lines[at + 1 :]:
                if following.strip() and not following.startswith(marked[1] + " "):
                    break
                body.append(following)
            found.append(Block(marked[2], textwrap.dedent("\n".join(body)).strip("\n"), heading))
    return found


def literals(text):
    return re.findall(r"``(.+?)``", text)
