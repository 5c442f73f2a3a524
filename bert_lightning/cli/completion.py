"""Tab completion of options in bash: a script of our own asks Hydra which options match.

Hydra's own script runs whatever Python file stands on the command line, and knows no subcommands.
"""

import os
from collections.abc import Sequence
from enum import Enum
from typing import Any

from bert_lightning.cli.explain import declared
from bert_lightning.config.limits import kinds

_SCRIPT = r"""
_bert_lightning() {
    local line="${COMP_LINE:0:COMP_POINT}" word choices words program
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    case "${words[0]##*/} ${words[1]}" in
        "bert-lightning "*) program=("${words[0]}") ;;
        python*" -m") [[ "${words[2]}" == bert_lightning ]] && program=("${words[@]:0:3}") ;;
        python*train.py) grep -qs "bert_lightning" "${words[1]}" && program=("${words[@]:0:2}") ;;
    esac
    COMPREPLY=()
    (( ${#program[@]} > 0 && ${#words[@]} > ${#program[@]} )) || return
    choices=$(COMP_LINE="bert-lightning ${words[*]:${#program[@]}}" \
        "${program[@]}" -sc query=bash 2> /dev/null)
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    if [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" == *[=./] ]]; then compopt -o nospace; fi
    # Where = parts words, bash puts in only what comes after it.
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}")
    fi
}
complete -o default -F _bert_lightning bert-lightning python python3
"""
_REMOVAL = """
complete -r bert-lightning python python3
unset -f _bert_lightning
"""


def answer(arguments: Sequence[str]) -> str | None:
    """Returns what to tell the shell; None where Hydra answers or the shell asks nothing."""
    if not {"-sc", "--shell-completion"} & set(arguments):
        return None
    if "install=bash" in arguments:
        return _SCRIPT
    if "uninstall=bash" in arguments:
        return _REMOVAL
    name, equals, _ = os.environ.get("COMP_LINE", "").rpartition(" ")[2].partition("=")
    values = _values(declared(name)) if equals else []
    return " ".join(f"{name}={value}" for value in values) or None


def _values(hint: Any) -> list[str]:
    """Returns all values of a type that has few; Hydra offers the current one alone."""
    values = ["null"] if type(None) in kinds(hint) else []
    for kind in kinds(hint):
        if kind is bool:
            values += ["true", "false"]
        elif isinstance(kind, type) and issubclass(kind, Enum):
            values += [member.name for member in kind]
    return values if values != ["null"] else []
