#include "net/local_udp.h"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "net/test_loop.h"
#include "net/udp_dialer.h"
#include "wire/each_datagram.h"

namespace openp2p::net {
namespace {

using forward::LocalEnds;
using namespace std::chrono_literals;

const Address kAny{IpAddress::loopback_v4(), 0};
constexpr TimePoint kNow{};

/// Keeps what came, datagram by datagram.
struct Keeper final : forward::LocalDatagramsHandler {
  void on_datagrams(const LocalEnds& from, const DatagramTrain& train, TimePoint) override {
    froms.push_back(from);
    for_each_datagram(train, [&](ByteView datagram) { datagrams.push_back(to_bytes(datagram)); });
    if (echo != nullptr) {
      for (; echoed < datagrams.size(); ++echoed) echo->send(from, datagrams[echoed]);
      echo->flush(kNow);
    }
  }
  void on_failed(std::error_code error, TimePoint) override { failures.push_back(error); }

  std::vector<LocalEnds> froms;
  std::vector<Bytes> datagrams;
  std::vector<std::error_code> failures;
  forward::LocalDatagrams* echo = nullptr;  ///< Gives all back to its sender.
  std::size_t echoed = 0;
};

class LocalUdp : public testing::Test {
 protected:
  std::unique_ptr<forward::LocalDatagrams> listen(Keeper& keeper, const Address& at = kAny) {
    auto listening = listen_local_udp(io, at, memory, keeper);
    EXPECT_TRUE(listening) << listening.error().message();
    return listening ? std::move(*listening) : nullptr;
  }
  std::unique_ptr<forward::LocalDatagrams> connect(Keeper& keeper, std::vector<Address> to) {
    auto connected = connect_local_udp(io, std::move(to), memory, keeper);
    EXPECT_TRUE(connected) << connected.error().message();
    return connected ? std::move(*connected) : nullptr;
  }
  /// A port that nobody listens on.
  Address closed_port() {
    Keeper nobody;
    return listen(nobody)->local_address();
  }

  IoContext io;
  LocalUdpMemory memory;
};

TEST_F(LocalUdp, CarriesEverySizeBothWays) {
  Keeper service, client;
  const auto listening = listen(service);
  service.echo = listening.get();
  const auto connected = connect(client, {listening->local_address()});
  std::vector<Bytes> sent;
  for (const std::size_t size : {1U, 148U, 0U, 1'420U, 1'420U, 1'420U, 9'000U, 65'507U, 0U, 7U}) {
    sent.emplace_back(size, std::byte(sent.size() + 1));
    connected->send({}, sent.back());
  }
  connected->flush(kNow);

  ASSERT_TRUE(run_until(io, [&] { return client.datagrams.size() == sent.size(); }));

  EXPECT_EQ(service.datagrams, sent);
  EXPECT_EQ(client.datagrams, sent);
  EXPECT_EQ(service.froms[0].program.port, connected->local_address().port);
  EXPECT_EQ(connected->counters().dropped + listening->counters().dropped, 0U);
}

TEST_F(LocalUdp, NothingLeavesBeforeItIsFlushed) {
  Keeper service, client;
  const auto listening = listen(service);
  const auto connected = connect(client, {listening->local_address()});
  connected->send({}, as_bytes("gathered"));
  EXPECT_FALSE(run_until(
      io, [&] { return !service.datagrams.empty(); }, 20ms));

  connected->flush(kNow);

  EXPECT_TRUE(run_until(io, [&] { return !service.datagrams.empty(); }));
}

TEST_F(LocalUdp, MoreThanGathersGoesInSeveralCalls) {
  Keeper service, client;
  const auto listening = listen(service);
  const auto connected = connect(client, {listening->local_address()});
  for (std::size_t i = 0; i < 3 * LocalUdpMemory::kEntriesMax; ++i) {
    connected->send({}, Bytes(100 + i, std::byte{7}));  // No two of a size: none is a train.
  }
  connected->flush(kNow);

  EXPECT_TRUE(
      run_until(io, [&] { return service.datagrams.size() == 3 * LocalUdpMemory::kEntriesMax; }));
}

TEST_F(LocalUdp, ClientsAreToldApartAndAnsweredFromTheAddressTheySentTo) {
  Keeper service, one, two;
  const auto listening = listen(service, {IpAddress::any_v4(), 0});
  service.echo = listening.get();
  const std::uint16_t port = listening->local_address().port;
  const auto first = connect(one, {{IpAddress::loopback_v4(), port}});
  const auto second = connect(two, {{IpAddress::v4(127, 0, 0, 2), port}});

  first->send({}, as_bytes("one"));
  first->flush(kNow);
  second->send({}, as_bytes("two"));
  second->flush(kNow);

  // Connected sockets take nothing from another address.
  ASSERT_TRUE(run_until(io, [&] { return one.datagrams.size() + two.datagrams.size() == 2; }));
  EXPECT_EQ(as_text(one.datagrams.at(0)), "one");
  EXPECT_EQ(as_text(two.datagrams.at(0)), "two");
  EXPECT_NE(service.froms[0], service.froms[1]);
}

TEST_F(LocalUdp, WorksOverIpv6) {
  Keeper service, client;
  const IpAddress loopback = *IpAddress::parse("::1");
  auto listening = listen_local_udp(io, {loopback, 0}, memory, service);
  if (!listening) GTEST_SKIP() << "no IPv6 here";
  service.echo = listening->get();
  const auto connected = connect(client, {(*listening)->local_address()});

  connected->send({}, as_bytes("six"));
  connected->flush(kNow);

  ASSERT_TRUE(run_until(io, [&] { return !client.datagrams.empty(); }));
  EXPECT_EQ(service.froms[0].program.ip, loopback);
}

TEST_F(LocalUdp, APortWithoutAServiceIsTold) {
  Keeper client;
  const auto connected = connect(client, {closed_port()});

  connected->send({}, as_bytes("anybody?"));
  connected->flush(kNow);

  ASSERT_TRUE(run_until(io, [&] { return !client.failures.empty(); }));
  EXPECT_EQ(client.failures[0], std::errc::connection_refused);
}

TEST_F(LocalUdp, WhereOneAddressRefusesTheNextOneGetsWhatWasSent) {
  Keeper service, client;
  const auto listening = listen(service);
  service.echo = listening.get();
  const auto connected =
      connect(client, {closed_port(), closed_port(), listening->local_address()});

  connected->send({}, as_bytes("question"));
  connected->flush(kNow);

  ASSERT_TRUE(run_until(io, [&] { return !client.datagrams.empty(); }));
  EXPECT_EQ(as_text(client.datagrams[0]), "question");
  EXPECT_TRUE(client.failures.empty());
}

TEST_F(LocalUdp, ARefusalAfterAnAnswerChangesNothing) {
  Keeper service, other, client;
  auto listening = listen(service);
  service.echo = listening.get();
  const auto elsewhere = listen(other);
  const auto connected = connect(client, {listening->local_address(), elsewhere->local_address()});
  connected->send({}, as_bytes("question"));
  connected->flush(kNow);
  ASSERT_TRUE(run_until(io, [&] { return !client.datagrams.empty(); }));

  listening.reset();
  connected->send({}, as_bytes("another"));
  connected->flush(kNow);

  ASSERT_TRUE(run_until(io, [&] { return !client.failures.empty(); }));
  EXPECT_TRUE(other.datagrams.empty());
}

TEST_F(LocalUdp, ABusyPortIsAnError) {
  Keeper keeper;
  const auto listening = listen(keeper);

  const auto again = listen_local_udp(io, listening->local_address(), memory, keeper);

  EXPECT_EQ(again.error(), std::errc::address_in_use);
}

/// Answers every name with the same addresses.
class FixedNames final : public NameResolver {
 public:
  explicit FixedNames(IoContext& io, Result<std::vector<IpAddress>> answer)
      : io_(io), answer_(std::move(answer)) {}
  std::unique_ptr<Lookup> look_up(const std::string&, Callback callback) override {
    boost::asio::post(io_, [this, callback = std::move(callback)] { callback(answer_); });
    return std::make_unique<Lookup>();
  }

 private:
  IoContext& io_;
  Result<std::vector<IpAddress>> answer_;
};

struct Dialled {
  Dialled(IoContext& io, NameResolver& names, LocalUdpMemory& memory, DialRequest request,
          Keeper& keeper)
      : dialer(io, names, memory) {
    dial = dialer.dial(std::move(request), keeper,
                       [this](auto socket) { result.emplace(std::move(socket)); });
  }
  UdpDialer dialer;
  std::unique_ptr<Dial> dial;
  std::optional<Result<std::unique_ptr<forward::LocalDatagrams>>> result;
};

TEST_F(LocalUdp, DialsTheAllowedAddressesOfAName) {
  Keeper service, client;
  const auto listening = listen(service);
  service.echo = listening.get();
  FixedNames names(io, std::vector{IpAddress::v4(192, 0, 2, 1), IpAddress::loopback_v4()});
  DialRequest request;
  request.host = "service";
  request.port = listening->local_address().port;
  request.allows = [](const IpAddress& ip) { return ip.is_loopback(); };

  Dialled dialled(io, names, memory, request, client);
  EXPECT_FALSE(dialled.result);  // Never from inside the call.
  ASSERT_TRUE(run_until(io, [&] { return dialled.result.has_value(); }));
  ASSERT_TRUE(*dialled.result);
  (**dialled.result)->send({}, as_bytes("hello"));
  (**dialled.result)->flush(kNow);

  EXPECT_TRUE(run_until(io, [&] { return !client.datagrams.empty(); }));
}

TEST_F(LocalUdp, DialsFailWithAReason) {
  Keeper client;
  FixedNames unknown(io, make_error_code(DialError::kNameNotFound));
  FixedNames local(io, std::vector{IpAddress::loopback_v4()});
  DialRequest request;
  request.host = "service";
  request.port = 9;
  Dialled nameless(io, unknown, memory, request, client);
  request.allows = [](const IpAddress&) { return false; };
  Dialled vetoed(io, local, memory, request, client);
  request.host = "127.0.0.1";
  Dialled numeric(io, unknown, memory, request, client);

  ASSERT_TRUE(run_until(io, [&] { return nameless.result && vetoed.result && numeric.result; }));
  EXPECT_EQ(nameless.result->error(), DialError::kNameNotFound);
  EXPECT_EQ(vetoed.result->error(), DialError::kVetoed);
  EXPECT_EQ(numeric.result->error(), DialError::kVetoed);
}

}  // namespace
}  // namespace openp2p::net
