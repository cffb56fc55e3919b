# shellcheck shell=sh
# Functions that use the Docker engine; to be sourced.

# Compose prefixes its networks with the project: tp0_testing_net, which other containers may join.
project=tp0
compose_file=docker-compose-dev.yaml

# Succeeds if an engine answers.
engine_answers() {
    command -v docker >/dev/null 2>&1 && docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# Prints the command of the installed Compose. Fails if there is none.
compose_command() {
    if docker compose version >/dev/null 2>&1; then
        echo "docker compose"
    elif docker-compose version >/dev/null 2>&1; then
        echo "docker-compose"
    else
        return 1
    fi
}

# Succeeds if static programs can be linked. Some distributions package the static C library
# separately.
links_statically() {
    probe=$(mktemp -d)
    echo 'int main(void) { return 0; }' >"$probe/main.c"
    linked=0
    cc -static -o "$probe/main" "$probe/main.c" >/dev/null 2>&1 || linked=1
    rm -rf "$probe"
    return "$linked"
}

# Prints why the lottery cannot run in containers here; prints nothing if it can.
missing_for_containers() {
    if ! engine_answers; then
        echo "no Docker engine answers"
    elif ! compose_command >/dev/null; then
        echo "Docker has no Compose (https://docs.docker.com/compose/install/)"
    elif ! links_statically; then
        echo "the C compiler cannot link static programs, which the images need (install the static C library)"
    fi
}

# Succeeds if the project has containers, running or stopped.
containers_exist() {
    engine_answers && [ -n "$(docker ps --all --quiet --filter "label=com.docker.compose.project=$project")" ]
}

# Stops the project's containers and removes them with their network and volumes.
remove_project() {
    containers_exist || [ -n "$(docker volume ls --quiet --filter "label=com.docker.compose.project=$project")" ] ||
        return 0
    if ! compose_command >/dev/null; then
        # Compose started them and has been removed since.
        echo "there are containers of the project $project, and Docker has no Compose to remove them with" >&2
        return 1
    fi
    [ -f "$compose_file" ] || ./generar-compose.sh "$compose_file" 5
    compose down --volumes --remove-orphans
}

# Runs Compose on the project.
compose() {
    command=$(compose_command) || {
        echo "missing tool: Compose; to get it: https://docs.docker.com/compose/install/ (make demo needs none)" >&2
        return 1
    }
    # shellcheck disable=SC2086 # two words where Compose is a plugin
    $command --project-name "$project" --file "$compose_file" "$@"
}

# Range of addresses of the project's network in the Compose file.
subnet=172.25.125.0/24

# Prints the other networks whose addresses overlap the project's, each with its addresses.
overlapping_networks() {
    for network in $(docker network ls --quiet); do
        docker network inspect --format '{{.Name}}{{range .IPAM.Config}} {{.Subnet}}{{end}}' "$network"
    done | awk -v wanted="$subnet" -v own="${project}_testing_net" '
        function number(address, parts) {
            split(address, parts, ".")
            return ((parts[1] * 256 + parts[2]) * 256 + parts[3]) * 256 + parts[4]
        }
        function overlap(a, b, x, y, size) {
            split(a, x, "/")
            split(b, y, "/")
            size = 2 ^ (32 - (x[2] < y[2] ? x[2] : y[2]))
            return int(number(x[1]) / size) == int(number(y[1]) / size)
        }
        $1 != own {
            for (i = 2; i <= NF; i++) if ($i !~ /:/ && overlap($i, wanted)) print $1, $i
        }'
}

# Prints the usual reasons why the containers do not start, as far as they are present.
explain_failed_start() {
    overlapping_networks | while read -r name addresses; do
        echo "the network $name has the addresses $addresses, which overlap $subnet of this project: docker network rm $name"
    done
    # The programs in the containers run as users that exist only there.
    find server/config.ini client/config.yaml .data ! -perm -o=r 2>/dev/null | while read -r file; do
        echo "the users of the containers (10001, 10002) cannot read $file: chmod o+rX $file"
    done
}
