#include <algorithm>

#include "base/check.h"
#include "quic/connection_impl.h"
#include "wire/codec.h"

/// How connections come about: dialling, and everything about datagrams that belong to none yet.
namespace openp2p::quic {
namespace {

constexpr std::byte kLongHeaderBit{0x80};

/// A Stateless Reset has at least 5 bytes before its token (RFC 9000 section 10.3); ours look like
/// a short packet to our id.
constexpr std::size_t kResetBytesMin = 5 + kResetTokenSize;
constexpr std::size_t kResetBytesMax = 43;

bool is_long_header(ByteView datagram) {
  return !datagram.empty() && (datagram[0] & kLongHeaderBit) != std::byte{};
}

std::optional<std::uint32_t> version_of(ByteView datagram) {
  if (!is_long_header(datagram)) return std::nullopt;
  Reader in(datagram.subspan(1));
  const auto version = in.u32();
  return version ? std::optional(*version) : std::nullopt;
}

std::optional<ngtcp2_pkt_hd> decode_initial(ByteView datagram) {
  if (version_of(datagram) != NGTCP2_PROTO_VER_V1) return std::nullopt;
  ngtcp2_pkt_hd header{};
  if (ngtcp2_accept(&header, as_u8(datagram), datagram.size()) != 0) return std::nullopt;
  // Shorter ids cannot be told apart from ours; RFC 9000 section 7.2 forbids them anyway.
  if (header.dcid.datalen < Connection::kConnectionIdSize) return std::nullopt;
  return header;
}

ByteView view(const ngtcp2_cid& id) { return std::as_bytes(std::span(id.data, id.datalen)); }
ByteView view(const ngtcp2_vec& piece) { return std::as_bytes(std::span(piece.base, piece.len)); }

}  // namespace

class ConnectionFactory::Impl {
 public:
  explicit Impl(const Options& options)
      : shared(*options.identity, *options.protection, *options.secrets) {}

  SharedParts shared;
};

ConnectionFactory::ConnectionFactory(const Options& options) {
  CHECK(options.identity != nullptr && options.protection != nullptr && options.secrets != nullptr);
  impl_ = std::make_unique<Impl>(options);
}

ConnectionFactory::~ConnectionFactory() = default;

std::unique_ptr<Connection> ConnectionFactory::connect(const ConnectionConfig& config,
                                                       ConnectionHandler& handler,
                                                       PeerVerifier& verifier, TimePoint now) {
  auto impl = std::make_unique<ConnectionImpl>(impl_->shared, config, handler, verifier, now);
  impl->start_client();
  return std::unique_ptr<Connection>(new Connection(std::move(impl)));
}

ConnectionFactory::Initial ConnectionFactory::inspect(ByteView datagram) {
  const auto version = version_of(datagram);
  if (!version) return {};
  if (*version != NGTCP2_PROTO_VER_V1) {
    // Version 0 is itself a negotiation, and short datagrams are answered by nobody (RFC 9000
    // section 6.1): neither loops nor amplification.
    const bool is_answered = *version != 0 && datagram.size() >= Connection::kDatagramBytesMin;
    return {.kind = is_answered ? InitialKind::kVersionNegotiation : InitialKind::kIgnore};
  }
  const auto header = decode_initial(datagram);
  if (!header) return {};
  return {.kind = InitialKind::kAccept, .has_token = header->token.len > 0};
}

std::size_t ConnectionFactory::write_retry(ByteView datagram, ByteView client, MutableByteView out,
                                           TimePoint now) {
  const auto header = decode_initial(datagram);
  if (!header || header->token.len > 0) return 0;  // One Retry a client: RFC 9000 section 17.2.5.
  std::array<std::byte, Connection::kConnectionIdSize> retry_id;
  impl_->shared.secrets.fill(retry_id);
  const auto token = impl_->shared.retry_tokens.make(client, retry_id, view(header->dcid), now);
  const ngtcp2_cid own_id = to_cid(retry_id);
  const ngtcp2_ssize size =
      ngtcp2_crypto_write_retry(as_u8(out), out.size(), header->version, &header->scid, &own_id,
                                &header->dcid, as_u8(token.view()), token.size);
  return static_cast<std::size_t>(std::max<ngtcp2_ssize>(size, 0));
}

std::size_t ConnectionFactory::write_version_negotiation(ByteView datagram, MutableByteView out) {
  if (inspect(datagram).kind != InitialKind::kVersionNegotiation) return 0;
  ngtcp2_version_cid ids{};
  const int error = ngtcp2_pkt_decode_version_cid(&ids, as_u8(datagram), datagram.size(),
                                                  Connection::kConnectionIdSize);
  if (error != 0 && error != NGTCP2_ERR_VERSION_NEGOTIATION) return 0;
  std::array<std::byte, 1> random;
  impl_->shared.secrets.fill(random);
  const std::array<std::uint32_t, 1> versions = {NGTCP2_PROTO_VER_V1};
  const ngtcp2_ssize size = ngtcp2_pkt_write_version_negotiation(
      as_u8(out), out.size(), std::to_integer<std::uint8_t>(random[0]), ids.scid, ids.scidlen,
      ids.dcid, ids.dcidlen, versions.data(), versions.size());
  return static_cast<std::size_t>(std::max<ngtcp2_ssize>(size, 0));
}

std::size_t ConnectionFactory::write_stateless_reset(ByteView datagram, MutableByteView out) {
  if (is_long_header(datagram)) return 0;
  const auto id = destination_id(datagram);
  // Shorter than what it answers, so that two parties who both forgot cannot answer each other for
  // ever; and no shorter than what a real packet may be.
  const std::size_t size = std::min({datagram.size() - 1, kResetBytesMax, out.size()});
  if (!id || datagram.size() <= kResetBytesMin || size < kResetBytesMin) return 0;
  std::array<std::byte, kResetBytesMax> random;
  impl_->shared.secrets.fill(random);
  const Digest token =
      hmac_sha256(impl_->shared.reset_key, datagram.subspan(1, Connection::kConnectionIdSize));
  const ngtcp2_ssize written = ngtcp2_pkt_write_stateless_reset(
      as_u8(out), size, as_u8(ByteView(token)), as_u8(ByteView(random)), size - kResetTokenSize);
  return static_cast<std::size_t>(std::max<ngtcp2_ssize>(written, 0));
}

std::unique_ptr<Connection> ConnectionFactory::accept(ByteView datagram, ByteView client,
                                                      bool token_required,
                                                      const ConnectionConfig& config,
                                                      ConnectionHandler& handler,
                                                      PeerVerifier& verifier, TimePoint now) {
  const auto header = decode_initial(datagram);
  if (!header) return nullptr;
  AcceptedInitial initial{.header = *header, .original_id = std::nullopt};
  if (header->token.len > 0) {
    initial.original_id =
        impl_->shared.retry_tokens.check(view(header->token), client, view(header->dcid), now);
  }
  if (token_required && !initial.original_id) return nullptr;
  auto impl = std::make_unique<ConnectionImpl>(impl_->shared, config, handler, verifier, now);
  impl->start_server(initial);
  return std::unique_ptr<Connection>(new Connection(std::move(impl)));
}

std::optional<Connection::ConnectionId> destination_id(ByteView datagram) {
  Reader in(datagram);
  if (!in.u8()) return std::nullopt;
  if (is_long_header(datagram)) {
    const auto version = in.u32();
    const auto size = in.u8();
    if (!version || !size || *size < Connection::kConnectionIdSize) return std::nullopt;
  }
  const auto id = in.u64();
  return id ? std::optional(*id) : std::nullopt;
}

}  // namespace openp2p::quic
