# Sourced by scripts/compose-test: a Docker engine, images without a public registry, and the composition in containers.
# shellcheck shell=bash disable=SC2154 # work, cache and prefix are the script's

engine_pid=''
project=lintel-test-$$
# Debian's client of Docker 20 has the builder in it; newer ones need a plugin, which is not everywhere.
if ! docker buildx version >/dev/null 2>&1 && [[ -x /usr/bin/docker ]]; then PATH=/usr/bin:$PATH; fi

engine_answers() { has docker && docker info >/dev/null 2>&1; }

# Starts an engine of the test's own, whose folder and network go away with it. While it builds it shares the network of
# this machine and touches none of its settings; to run containers it gets a namespace, with bridges and rules in there.
start_engine() { # build | run
	local within=() network=()
	if [[ $1 == build ]]; then
		network=(--bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false)
	else
		within=(nsenter "--net=/run/netns/${prefix}engine")
	fi
	export DOCKER_HOST=unix://$work/engine/docker.sock DOCKER_BUILDKIT=1
	mkdir -p "$work/engine"
	setsid "${within[@]}" dockerd --host "$DOCKER_HOST" --data-root "$work/engine/root" --exec-root "$work/engine/run" \
		--pidfile "$work/engine/pid" "${network[@]}" >>"$work/engine/log" 2>&1 </dev/null &
	engine_pid=$!
	local deadline=$((SECONDS + 60))
	until docker info >/dev/null 2>&1; do
		if ! kill -0 "$engine_pid" 2>/dev/null || ((SECONDS > deadline)); then
			tail -n 5 "$work/engine/log" >&2
			engine_pid=''
			fail "the engine does not start"
		fi
		sleep 0.2
	done
}

stop_engine() {
	[[ -n $engine_pid ]] || return 0
	kill -TERM "$engine_pid" 2>/dev/null || true
	wait "$engine_pid" || true
	engine_pid=''
}

# shellcheck disable=SC2317 # called by a trap
end_engine() {
	if [[ -n $engine_pid ]]; then
		docker ps -aq | xargs -r docker rm -f >/dev/null 2>&1 || true
		stop_engine
	fi
	rm -rf "$work/engine" 2>/dev/null || true
}

# Base images, of Debian's packages and this machine's own Rust and Node.
make_bases() {
	local bases=$work/bases name
	step "Making base images of Debian's packages (debootstrap)"
	mkdir -p "$cache" "$bases/rust" "$bases/node/bin" "$bases/node/lib/node_modules"
	if [[ ! -s $cache/debian.tar ]]; then
		debootstrap --variant=minbase --include=ca-certificates bookworm "$work/debian" >"$work/debootstrap.log" 2>&1 ||
			{ tail -n 5 "$work/debootstrap.log" >&2 && return 1; }
		tar -C "$work/debian" -cf "$cache/debian.tar.new" . && mv "$cache/debian.tar.new" "$cache/debian.tar"
		rm -rf "$work/debian"
	fi
	docker import "$cache/debian.tar" lintel-test/debian >/dev/null
	if [[ -n ${LINTEL:-} ]]; then
		cp "$LINTEL" "$bases/lintel"
	else
		cp -a "$(rustc --print sysroot)"/{bin,lib} "$bases/rust/"
	fi
	cp "$(readlink -f "$(command -v node)")" "$bases/node/bin/node"
	cp -a "$(npm root -g 2>/dev/null)/npm" "$bases/node/lib/node_modules/"
	ln -s ../lib/node_modules/npm/bin/npm-cli.js "$bases/node/bin/npm"
	cp /etc/ssl/certs/ca-certificates.crt "$bases/"
	for name in rust node redis prometheus ${LINTEL:+binary}; do
		note "lintel-test/$name"
		docker build --network host --quiet --file tests/compose/bases.Dockerfile --target "$name" --tag "lintel-test/$name" \
			"$bases" >/dev/null
	done
	rm -rf "$bases"
}

# The images of docker-compose.yml, as it builds them, of the base images that the variables name.
make_images() {
	local stage
	export RUST_IMAGE=lintel-test/rust NODE_IMAGE=lintel-test/node BASE_IMAGE=lintel-test/debian
	export REDIS_IMAGE=lintel-test/redis PROMETHEUS_IMAGE=lintel-test/prometheus
	if [[ -n ${LINTEL:-} ]]; then export BINARY=lintel-test/binary; fi
	step "Building Lintel's images (Dockerfile)"
	for stage in run demo certs; do
		local tag=lintel-$stage
		[[ $stage != run ]] || tag=lintel
		docker build --network host --target "$stage" --tag "$tag" --build-arg RUST_IMAGE --build-arg NODE_IMAGE \
			--build-arg BASE_IMAGE ${BINARY:+--build-arg BINARY} . >"$work/build.log" 2>&1 ||
			{ tail -n 30 "$work/build.log" >&2 && return 1; }
		note "$tag: $(docker image inspect --format '{{.Size}}' "$tag" | numfmt --to=iec) with its base"
	done
}

# Pulls the images that docker-compose.yml only uses; that of Grafana is left out where it is the only one missing.
public_images() {
	compose pull --quiet redis prometheus >/dev/null 2>&1 || return 1
	if compose pull --quiet grafana >/dev/null 2>&1; then export STAGE_GRAFANA=yes; fi
}

try_containers() {
	has docker || fail "this needs Docker" "Debian:  scripts/setup containers"
	if engine_answers; then
		step "The composition in containers, by the engine that answers"
		export DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1
		if public_images; then
			compose --project-name "$project" build >"$work/build.log" 2>&1 ||
				{ tail -n 30 "$work/build.log" >&2 && fail "the images could not be built"; }
		else
			note "public images are not to be had here"
			make_bases
			make_images
		fi
		run_containers
		return
	fi
	if ! { ((EUID == 0)) && has dockerd && has debootstrap && has ip; }; then
		fail "no Docker engine answers, and one of the test's own needs root, docker.io, debootstrap, iptables and iproute2"
	fi
	step "The composition in containers, by an engine of the test's own"
	start_engine build
	make_bases
	make_images
	stop_engine
	ip netns add "${prefix}engine"
	ip -n "${prefix}engine" link set lo up
	start_engine run
	note "no image of Grafana is to be had here, so it is left out; its files are held against its schema instead"
	run_containers nsenter "--net=/run/netns/${prefix}engine"
}

run_containers() { # command before it...
	export STAGE=containers STAGE_FOLDER=$work STAGE_PROJECT=$project STAGE_DOCKER=docker
	test_composition tests/compose/composition.test.mjs "$@"
	if [[ -s $work/kubernetes.json ]]; then
		step "The pods of deploy/kubernetes, in containers"
		KUBERNETES_JSON=$work/kubernetes.json test_composition tests/compose/kubernetes.test.mjs "$@"
	fi
}
