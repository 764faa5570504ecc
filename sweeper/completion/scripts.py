"""What each shell reads so that its Tab key asks ``mdaf completion query``. Shells complete names of files."""

from __future__ import annotations

from mdaf.terminal.programs import SCRIPTS

_BASH = """\
_mdaf_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word before
    word="${line##* }"
    before="${word%"${word##*[=:]}"}"
    COMPREPLY=()
    local one
    while IFS= read -r one; do
        COMPREPLY+=("${one#"$before"}")
    done < <(command mdaf completion query "$line" 2>/dev/null)
    case "${COMPREPLY[*]}" in *=) compopt -o nospace ;; esac
}
complete -o default -F _mdaf_complete @NAMES@
"""
_ZSH = """\
_mdaf_complete() {
    local -a found
    found=("${(@f)$(command mdaf completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( $#found )); then compadd -Q -S '' -- $found; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _mdaf_complete @NAMES@
"""
_FISH = """\
function _mdaf_complete
    command mdaf completion query (commandline -cp) 2>/dev/null
end
for name in @NAMES@
    complete -c $name -a '(_mdaf_complete)'
end
"""
SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
HOW = {
    "bash": "echo 'eval \"$(mdaf completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(mdaf completion zsh)\"' >> ~/.zshrc",
    "fish": "mdaf completion fish > ~/.config/fish/completions/mdaf.fish",
}


def script(shell: str) -> str:
    """The text that a shell evaluates."""
    return SHELLS[shell].replace("@NAMES@", " ".join(SCRIPTS.values()))
