# Reads the output of `compose logs` as the course's tests do, and prints each line of an action as
# source|action|result|name=value|..., for the checks. Fails at a line that those tests could not
# read.
BEGIN { FS = "|" }

function trim(text) {
    gsub(/^[ \t]+|[ \t\r]+$/, "", text)
    return text
}

function after_last_colon(text) {
    sub(/.*:/, "", text)
    return trim(text)
}

function before_last_colon(text) {
    sub(/:[^:]*$/, "", text)
    return trim(text)
}

function refuse(reason) {
    print "this line cannot be read, " reason ": " $0 > "/dev/stderr"
    failed = 1
    exit 1
}

/action:/ {
    if (NF < 3) refuse("it has fewer than three parts")
    result = after_last_colon($3)
    if (result !~ /^(success|fail|in_progress)$/) refuse("its result is " result)
    action = after_last_colon($2)
    # The tests take the first such line for the end of the program, and it must be a success.
    if (action == "exit" && result != "success") refuse("exit with the result " result)
    line = trim($1) "|" action "|" result
    for (i = 4; i <= NF; i++) {
        if ($i !~ /:/) refuse("a part has no colon")
        name = before_last_colon($i)
        if (name ~ /^(source|action|result)$/) refuse("a part is called " name)
        line = line "|" name "=" after_last_colon($i)
    }
    print line
    next
}

/ exited with code / {
    code = $0
    sub(/.* exited with code /, "", code)
    sub(/ exited with code .*/, "")
    print trim($0) "|exit|" (code + 0 == 0 ? "success" : "fail")
}

END { exit failed }
