#!/bin/sh
# Checks the rules of the style guide in CONTRIBUTING.md that a machine can check: words to avoid,
# and prose over 100 columns. Prints each violation and fails if there are any.
set -eu
cd "$(dirname "$0")/.."

bad=0

# places PATTERN REASON FILES...: prints the lines that match. The excluded text is a reply on the
# wire, which must not change.
places() {
    pattern=$1 reason=$2
    shift 2
    if git grep --untracked -nIiE "$pattern" -- "$@" ':!scripts/prose.sh' ':!CONTRIBUTING.md' |
        grep -v 'The winners cannot be told'; then
        echo "prose: $reason" >&2
        bad=1
    fi
}

places '\b(nobody|whoever|somebody|so many|goodbye|told|those of whom)\b' \
    "name the subject: caller, client, waiter, owner, dead process" \
    '*.rs' '*.md' '*.sh' '*.py' '*.c' '*.toml' '*.ini' '*.yaml' '*.awk' Makefile '.ci/*' '*Dockerfile'
places '^ *//[/!] *Whether\b' "begin the documentation of a predicate with \"Returns true if\"" '*.rs'

# Tables, links and quoted output in Markdown cannot be wrapped.
wide=$(git ls-files --cached --others --exclude-standard '*.rs' '*.sh' '*.py' '*.md' | while IFS= read -r file; do
    [ -f "$file" ] || continue
    awk -v file="$file" '
        file ~ /\.md$/ && /^```/ { code = !code }
        file ~ /\.md$/ && (code || /^ *\|/ || /\]\(|https?:/) { next }
        file ~ /\.rs$/ && (!/^ *\/\// || /^ *\/\/[\/!] *\|/) { next }
        file ~ /\.(sh|py)$/ && !/^ *#/ { next }
        /https?:\/\// { next }
        # awk may count bytes: every byte of a character but its first is a continuation byte.
        { text = $0; gsub(/[\200-\277]/, "", text) }
        length(text) > 100 { print file ":" FNR ": " length(text) " columns" }' "$file"
done)
if [ -n "$wide" ]; then
    printf '%s\n' "$wide"
    echo "prose: wrap comments and Markdown at 100 columns" >&2
    bad=1
fi
exit "$bad"
