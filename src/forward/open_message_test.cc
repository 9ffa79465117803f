#include "forward/open_message.h"

#include <gtest/gtest.h>

#include <string>

#include "base/host_name.h"
#include "base/ids.h"

namespace openp2p::forward {
namespace {

Bytes raw(std::initializer_list<int> bytes) {
  Bytes out;
  for (const int b : bytes) out.push_back(static_cast<std::byte>(b));
  return out;
}

/// As a peer would write it, whatever the host is.
Bytes raw_request(std::string_view host, std::uint16_t port) {
  Bytes out = raw({1, 1, port >> 8, port & 0xff, static_cast<int>(host.size())});
  out.insert(out.end(), as_bytes(host).begin(), as_bytes(host).end());
  return out;
}

/// What a whole message decodes to in one piece; nullopt where it is refused or wants more.
template <class Message>
std::optional<Message> decode_whole(ByteView bytes) {
  OpenDecoder<Message> decoder;
  const auto used = decoder.feed(bytes);
  if (!used) return std::nullopt;
  return decoder.message();
}

TEST(OpenMessage, RequestsComeBackAsTheyWere) {
  const std::string label = std::string(62, 'a') + '.';
  const std::string longest = label + label + label + label + 'a';  // DNS allows no more.
  for (const std::string& host :
       {std::string("127.0.0.1"), std::string("fd00::1"), std::string("printer_2.lan."), longest}) {
    const auto back = decode_whole<OpenRequest>(encode(OpenRequest{.host = host, .port = 65'535}));

    ASSERT_TRUE(back) << host;
    EXPECT_EQ(back->kind, StreamKind::kTcp);
    EXPECT_EQ(back->host, host);
    EXPECT_EQ(back->port, 65'535);
  }
  const auto echo =
      decode_whole<OpenRequest>(encode(OpenRequest{.kind = StreamKind::kEcho, .host = {}}));
  ASSERT_TRUE(echo);
  EXPECT_EQ(echo->kind, StreamKind::kEcho);
}

TEST(OpenMessage, AnswersComeBackAsTheyWere) {
  for (int status = 0; status <= static_cast<int>(OpenStatus::kFailed); ++status) {
    const OpenAnswer answer{static_cast<OpenStatus>(status), "no way; try \u00e9"};

    const auto back = decode_whole<OpenAnswer>(encode(answer));

    ASSERT_TRUE(back) << status;
    EXPECT_EQ(back->status, answer.status);
    EXPECT_EQ(back->text, answer.text);
  }
}

TEST(OpenMessage, ALongerTextIsCut) {
  const OpenAnswer answer{OpenStatus::kDenied, std::string(5'000, 'x')};

  const auto back = decode_whole<OpenAnswer>(encode(answer));

  ASSERT_TRUE(back);
  EXPECT_EQ(back->text, std::string(OpenAnswer::kTextBytesMax, 'x'));
}

TEST(OpenMessage, EveryTruncationWantsMoreAndTakesAll) {
  const Bytes request = encode(OpenRequest{.host = "nas.lan", .port = 80});
  for (std::size_t size = 0; size < request.size(); ++size) {
    OpenDecoder<OpenRequest> decoder;
    const auto used = decoder.feed(ByteView(request).first(size));
    ASSERT_TRUE(used) << size;
    EXPECT_EQ(*used, size);
    EXPECT_FALSE(decoder.message());
  }
  const Bytes answer = encode(OpenAnswer{OpenStatus::kRefused, "nothing listens"});
  for (std::size_t size = 0; size < answer.size(); ++size) {
    OpenDecoder<OpenAnswer> decoder;
    const auto used = decoder.feed(ByteView(answer).first(size));
    ASSERT_TRUE(used) << size;
    EXPECT_EQ(*used, size);
    EXPECT_FALSE(decoder.message());
  }
}

TEST(OpenMessage, ByteByByteLeavesTheDataBehindIt) {
  Bytes stream = encode(OpenRequest{.host = "nas.lan", .port = 80});
  const std::size_t request_size = stream.size();
  stream.push_back(std::byte{'D'});
  OpenDecoder<OpenRequest> decoder;
  std::size_t taken = 0;
  while (!decoder.message()) {
    const auto used = decoder.feed(ByteView(stream).subspan(taken, 1));
    ASSERT_TRUE(used);
    taken += *used;
  }

  EXPECT_EQ(taken, request_size);
  EXPECT_EQ(decoder.message()->host, "nas.lan");

  OpenDecoder<OpenRequest> at_once;
  EXPECT_EQ(at_once.feed(stream).value(), request_size);
  OpenDecoder<OpenRequest> split;
  EXPECT_EQ(split.feed(ByteView(stream).first(7)).value(), 7U);
  EXPECT_EQ(split.feed(ByteView(stream).subspan(7)).value(), request_size - 7);
}

TEST(OpenMessage, GarbageIsRefusedAsSoonAsItShows) {
  EXPECT_FALSE(OpenDecoder<OpenRequest>().feed(raw({0, 1})));            // No such kind.
  EXPECT_FALSE(OpenDecoder<OpenRequest>().feed(raw({99, 1})));           // No such kind.
  EXPECT_FALSE(OpenDecoder<OpenRequest>().feed(raw({1, 2})));            // Another version.
  EXPECT_FALSE(OpenDecoder<OpenRequest>().feed(raw({1, 1, 0, 80, 0})));  // No host.
  EXPECT_FALSE(OpenDecoder<OpenRequest>().feed(raw_request("nas", 0)));
  EXPECT_FALSE(OpenDecoder<OpenAnswer>().feed(raw({9, 0, 0})));        // No such status.
  EXPECT_FALSE(OpenDecoder<OpenAnswer>().feed(raw({0, 0xff, 0xff})));  // A text that never ends.
  EXPECT_FALSE(OpenDecoder<OpenAnswer>().feed(raw({0, 2, 1})));        // 513 bytes.
}

TEST(OpenMessage, HostsThatAPersonWouldNotWriteAreRefused) {
  using namespace std::string_literals;
  const std::vector<std::string> bad = {"a b",      "a\nb",        "\x1b[2J", "a\0b"s,
                                        "-flag",    ".hidden",     "a/b",     "a:80",
                                        "[::1]",    "caf\xc3\xa9", "a%0a",    "127.0.0.1\0\x1b[2J"s,
                                        "::1\0\n"s, "$HOME",       "a;b",     "fe80::1%eth0"};
  for (const std::string& host : bad) {
    EXPECT_FALSE(is_valid_host(host)) << printable(host);
    EXPECT_FALSE(OpenDecoder<OpenRequest>().feed(raw_request(host, 80))) << printable(host);
  }
  EXPECT_FALSE(is_valid_host(""));
}

TEST(OpenMessage, ControlCharactersOfAnAnswerAreNotShown) {
  Bytes answer = raw({1, 0, 6});
  for (const char c : std::string("\x1b[2J\n!")) answer.push_back(static_cast<std::byte>(c));

  const auto back = decode_whole<OpenAnswer>(answer);

  ASSERT_TRUE(back);
  EXPECT_EQ(back->text, "?[2J?!");
}

}  // namespace
}  // namespace openp2p::forward
