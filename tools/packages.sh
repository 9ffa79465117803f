# What Debian 12 has to give, by purpose. Sourced by dev and tools/unpack.sh.
#
# NAME_packages are installed with apt when missing: none of them brings a system service. Programs
# whose packages bring one are in unpacked_packages: these are only downloaded and unpacked into
# build/tools-root, so nothing runs on the machine but what a test starts in its own namespace.
# shellcheck shell=bash disable=SC2034

build_purpose="compile the programs and their tests"
build_packages=(
  g++ cmake ninja-build ccache pkg-config python3
  libngtcp2-dev libngtcp2-crypto-gnutls-dev libgnutls28-dev nettle-dev
  libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev
  libprotobuf-dev protobuf-compiler libsoci-dev libsqlite3-dev libargon2-dev
  libminiupnpc-dev libnatpmp-dev libcli11-dev libspdlog-dev libfmt-dev libgtest-dev libgmock-dev libbenchmark-dev
)
if [ "$(dpkg --print-architecture)" = amd64 ]; then build_packages+=(libipsec-mb-dev); fi

lab_purpose="run whole programs in network namespaces (tests, demo, benchmarks)"
lab_packages=(iproute2 util-linux python3 python3-pytest openssh-client curl dnsmasq-base bind9-dnsutils)
unpacked_packages=(nftables iperf3 openssh-server lighttpd coturn stun-client miniupnpd-nftables)
unpacked_programs=(
  nft iperf3 sshd lighttpd turnserver turnutils_stunclient turnutils_natdiscovery stun miniupnpd
)

lint_purpose="check layout and code a second time, with clang"
lint_packages=(git clang-14 clang-tidy-14 clang-format-14)

fuzz_purpose="fuzz, with clang's libFuzzer and sanitizers"
fuzz_packages=(clang-14 libclang-rt-14-dev)
