#pragma once

#include <array>
#include <optional>
#include <span>

#include "base/time.h"
#include "net/socket_address.h"
#include "net/udp_socket.h"

namespace openp2p::net {

/// The sending half of a UdpSocket: turns batches into as few system calls as this kernel and this
/// network card allow, and goes to the next best when they refuse:
///
/// - segmentation (UDP_SEGMENT), many messages a call (sendmmsg);
/// - no checksum offload in the card (EIO): without segmentation, tried again after ten minutes;
/// - EINVAL, EMSGSIZE, ...: the first datagram goes alone, and tells whether segmentation or the
///   datagram's size was wrong;
/// - no sendmmsg (ENOSYS): one message a call.
class UdpSender {
 public:
  struct Config {
    int socket = -1;
    UdpSyscalls* syscalls = nullptr;
    UdpHandler* handler = nullptr;
    UdpCounters* counters = nullptr;
    bool has_offload = false;
  };
  explicit UdpSender(const Config& config) : config_(config) {}

  /// As UdpSocket::send().
  SendProgress send(std::span<const Outgoing> batches, TimePoint now);
  bool send_empty(const Address& to, const IpAddress& source);  ///< As UdpSocket::send_empty().
  bool is_offloading() const { return config_.has_offload && !offload_off_until_; }

 private:
  // Messages a system call: 64 datagrams of 1,452 bytes are what one segmented message carries.
  static constexpr std::size_t kMessagesMax = 64;

  struct Burst;
  enum class Verdict { kSendOn, kBlocked };

  std::size_t fill(std::span<const Outgoing> batches, Burst& burst) const;
  int submit(Burst& burst, std::size_t count);
  void on_sent(const Burst& burst, std::size_t count, TimePoint now);
  Verdict on_error(std::span<const Outgoing> batches, const Burst& burst, int error, TimePoint now);
  void give_up_offload(TimePoint now);
  void drop_batch();

  Config config_;
  std::optional<TimePoint> offload_off_until_;
  bool has_many_ = true;

  // Of the send() under way.
  bool is_sending_ = false;
  SendProgress at_;
  std::size_t plain_batch_ = 0;  // This batch goes without segmentation...
  bool is_plain_ = false;        // ...if there is one,
  bool is_on_trial_ = false;     // ...and its first datagram shows what was wrong.
  bool is_second_try_ = false;
};

}  // namespace openp2p::net
