#!/bin/sh
# agreement.sh total|own CENTRAL: compares the answers of the agencies, one number per line on
# standard input, with each other or with the central's number of winners. `total`: each answer is
# the total. `own`: each answer is the number of an agency's own winners. Fails if they differ.
set -eu

awk -v answers="$1" -v central="$2" '
    { count++; sum += $1; list = list (count > 1 ? ", " : "") $1 }
    $1 != central { differs = 1 }
    END {
        if (answers == "own") {
            differs = sum != central
            agreed = "the winners of all " count " agencies together: " sum ", as many as the central has"
        } else {
            agreed = "all " count " agencies agree: " central " winners"
        }
        if (differs) {
            print "the answers of the agencies (" list ") differ from the winners of the central: " central
            exit 1
        }
        print agreed
    }'
