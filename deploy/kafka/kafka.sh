#!/usr/bin/env bash
# One node of Apache Kafka on loopback, from Maven's jars: no Docker, no installation.
#   kafka.sh start [DIR] [PORT] [CONTROLLER_PORT]   prints the bootstrap address when the broker answers
#   kafka.sh stop [DIR]
# DIR (default .kafka) holds the data, the log and the process id; the jars lie in .kafka/libs and are fetched once.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
verb=${1:-}
dir=${2:-$root/.kafka}
port=${3:-9092}
controller_port=${4:-$((port + 1))}
libs=$root/.kafka/libs
seconds=90

fail() { echo "kafka: $*" >&2; exit 1; }

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The process id of the broker of this DIR, or nothing: the id file may be older than a reboot.
broker() {
  local pid
  pid=$(cat "$dir/kafka.pid" 2>/dev/null) || return 0
  case "$(ps -ww -p "$pid" -o args= 2>/dev/null)" in *"kafka.Kafka $dir/"*) echo "$pid" ;; esac
}

need_java() {
  command -v java >/dev/null || fail "java not found: install a Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
  local version
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [ "${version:-0}" -ge 17 ] || fail "java ${version:-of an unknown version} found; Apache Kafka 4 needs 17 or newer"
}

# The jars of pom.xml in $libs, complete or not at all, also when two runs fetch at once.
fetch() {
  cmp -s "$here/pom.xml" "$libs/pom.xml" && return
  command -v mvn >/dev/null || fail "mvn not found: install Maven (Debian: apt-get install maven); it fetches Apache Kafka's jars"
  echo "kafka: fetching Apache Kafka by Maven (once, about 45 MB)" >&2
  mkdir -p "$root/.kafka"
  local fresh
  fresh=$(mktemp -d "$root/.kafka/libs.XXXXXX")
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh" >&2 \
    || { rm -rf "$fresh"; fail "Maven could not fetch the jars (its lines are above)"; }
  cp "$here/pom.xml" "$fresh/pom.xml"
  rm -rf "$libs"
  mv -T "$fresh" "$libs" 2>/dev/null || rm -rf "$fresh"
}

configure() {
  cat >"$dir/server.properties" <<P
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
num.partitions=4
num.network.threads=1
num.io.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
P
}

# The log lines that a user needs when the broker did not start.
explain() { grep -E "ERROR|FATAL|Exception" "$dir/kafka.log" | head -3 >&2; tail -3 "$dir/kafka.log" >&2; }

start() {
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  if [ -n "$(broker)" ]; then
    port=$(sed -n 's|^advertised.listeners=PLAINTEXT://127.0.0.1:\([0-9]*\),.*|\1|p' "$dir/server.properties")
    echo "kafka: already running, process $(broker)" >&2
    echo "127.0.0.1:$port"
    return
  fi
  for one in "$port" "$controller_port"; do
    ! listening "$one" || fail "port $one is taken by another program: stop it, or choose another (kafka.sh start DIR PORT)"
  done
  need_java
  fetch
  configure
  if [ ! -f "$dir/data/meta.properties" ]; then
    rm -rf "$dir/data"
    local id
    id=$(java -cp "$libs/*" kafka.tools.StorageTool random-uuid 2>/dev/null | tail -1)
    java -cp "$libs/*" kafka.tools.StorageTool format --standalone -t "$id" -c "$dir/server.properties" >"$dir/kafka.log" 2>&1 \
      || { explain; fail "could not format $dir/data"; }
  fi
  setsid nohup java -Xms256m -Xmx768m -cp "$libs/*" kafka.Kafka "$dir/server.properties" >"$dir/kafka.log" 2>&1 </dev/null &
  local pid=$!
  echo "$pid" >"$dir/kafka.pid"
  for _ in $(seq $((seconds * 4))); do
    if grep -q "Kafka Server started" "$dir/kafka.log" && listening "$port"; then
      echo "kafka: Apache Kafka is up, process $pid, log $dir/kafka.log" >&2
      echo "127.0.0.1:$port"
      return
    fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.25
  done
  kill "$pid" 2>/dev/null || true
  rm -f "$dir/kafka.pid"
  explain
  fail "the broker did not start; the whole log is $dir/kafka.log"
}

stop() {
  dir=$(cd "$dir" 2>/dev/null && pwd) || { echo "kafka: not running" >&2; return; }
  local pid
  pid=$(broker)
  if [ -n "$pid" ]; then
    kill "$pid"
    for _ in $(seq 120); do kill -0 "$pid" 2>/dev/null || break; sleep 0.25; done
    kill -9 "$pid" 2>/dev/null && echo "kafka: process $pid had to be killed" >&2
    echo "kafka: stopped, process $pid" >&2
  else
    echo "kafka: not running" >&2
  fi
  rm -f "$dir/kafka.pid"
}

case "$verb" in
  start) start ;;
  stop) stop ;;
  *) echo "usage: kafka.sh start [DIR] [PORT] [CONTROLLER_PORT] | stop [DIR]" >&2; exit 2 ;;
esac
