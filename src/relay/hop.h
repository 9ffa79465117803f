#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"
#include "session/sealed.h"
#include "session/session.h"

/// One session as relayed datagrams travel over it: sealed datagrams of use kRelay.
///
///   payload: channel (3, network order) | inner datagram
///
/// Between two nodes of a network either may relay for the other over the same session. The highest
/// bit of the channel tells: clear to a relay, set from it.
namespace openp2p::relay {

/// Number of an allocation, as the relay gives it: below 2^23.
using Channel = std::uint32_t;
inline constexpr Channel kChannelMax = (1U << 23) - 1;
inline constexpr std::size_t kChannelBytes = 3;

/// Takes what arrives over one session.
class HopReceiver {
 public:
  virtual ~HopReceiver() = default;
  /// `datagram` lies in a buffer that ends with the call; it may be changed.
  virtual void on_hop_datagram(Channel channel, MutableByteView datagram, TimePoint now) = 0;
};

/// Made by whoever uses the session, one for each session with a relay or an end, once the session
/// is established. It sets itself as the session's SealedHandler for kRelay, and takes itself off
/// when it is destroyed.
///
/// Order at the end: from SessionHandler::on_closed(), first StreamUser::on_session_lost() of the
/// relay streams, then Hop::on_session_lost(); the Hop is destroyed between inputs, after the
/// RelayClient that uses it, and after RelayService::forget() where it was given to a service.
class Hop final : public session::SealedHandler {
 public:
  enum class Way { kToRelay, kFromRelay };

  explicit Hop(session::Session& session);
  ~Hop() override;
  Hop(const Hop&) = delete;
  Hop& operator=(const Hop&) = delete;

  session::Session* session() const { return session_; }  ///< nullptr: gone.
  void on_session_lost();

  /// Who takes datagrams of either way; nullptr: nobody.
  void set_receiver(Way way, HopReceiver* receiver);
  /// The largest inner datagram that fits now.
  std::size_t datagram_max() const;
  /// The session itself goes over a relay now.
  bool is_relayed() const;
  /// What the network carries beside each inner datagram: channel, seal, UDP and IP headers; over
  /// TCP those of a segment as long.
  std::size_t header_bytes(TimePoint now);
  /// Copies the datagram into the session's queue. False: dropped (and counted by the session).
  bool send(Way way, Channel channel, ByteView datagram);

  std::uint64_t malformed() const { return malformed_; }
  std::uint64_t unwanted() const { return unwanted_; }  ///< Nobody took them.

  // session::SealedHandler
  void on_sealed(session::Session& session, session::SealedUse use, MutableByteView payload,
                 TimePoint now) override;

 private:
  session::Session* session_;
  HopReceiver* from_relay_ = nullptr;
  HopReceiver* to_relay_ = nullptr;
  std::optional<TimePoint> headers_at_;  ///< Asked once for all datagrams of a batch.
  std::size_t header_bytes_ = 0;
  std::uint64_t malformed_ = 0;
  std::uint64_t unwanted_ = 0;
};

}  // namespace openp2p::relay
