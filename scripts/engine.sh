# The Docker engine, as far as the scripts ask about it; to be sourced.

# Compose's project: with the network's name it makes tp0_testing_net, where other containers may join.
project=tp0
compose_file=docker-compose-dev.yaml

# Whether an engine answers.
engine_answers() {
    command -v docker >/dev/null 2>&1 && docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# Whether the project has containers, running or ended.
containers_exist() {
    engine_answers && [ -n "$(docker ps --all --quiet --filter "label=com.docker.compose.project=$project")" ]
}

# Stops the project's containers and removes them with their network and volumes, where there are any.
remove_project() {
    containers_exist || [ -n "$(docker volume ls --quiet --filter "label=com.docker.compose.project=$project")" ] ||
        return 0
    [ -f "$compose_file" ] || ./generar-compose.sh "$compose_file" 5
    compose down --volumes --remove-orphans
}

# Compose on the project, whichever of its two programs is there.
compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --project-name "$project" --file "$compose_file" "$@"
    elif docker-compose version >/dev/null 2>&1; then
        docker-compose --project-name "$project" --file "$compose_file" "$@"
    else
        echo "missing tool: Compose; to get it: https://docs.docker.com/compose/install/ (make demo needs none)" >&2
        return 1
    fi
}
