#include "net/udp_sender.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "base/check.h"

namespace openp2p::net {
namespace {

// Linux: UDP_MAX_SEGMENTS was 64 before it became 128, and a message ends at the IP length field.
constexpr std::size_t kSegmentsMax = 64;
constexpr std::size_t kSegmentedBytesMax = 65'507;

// The card may have changed (a VPN came or went); one refused call every ten minutes is nothing.
constexpr Duration kOffloadRetryAfter = std::chrono::minutes(10);

// What kernels and drivers say when they cannot segment this.
bool may_blame_offload(int error) {
  return error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

// How much of a batch the next message carries.
std::size_t message_bytes(const Outgoing& batch, std::size_t offset, bool may_segment) {
  const std::size_t left = batch.datagrams.size() - offset;
  if (!may_segment) return std::min(left, batch.segment_bytes);
  const std::size_t segments_max =
      std::clamp<std::size_t>(kSegmentedBytesMax / batch.segment_bytes, 1, kSegmentsMax);
  return std::min(left, segments_max * batch.segment_bytes);
}

}  // namespace

// Left uninitialised but for what a call uses: it is 16 KiB.
struct UdpSender::Burst {
  std::array<UdpMessage, kMessagesMax> messages;
  std::array<iovec, kMessagesMax> slices;
  std::array<SocketAddress, kMessagesMax> addresses;
  std::array<UdpControlRoom, kMessagesMax> controls;
  std::array<SendProgress, kMessagesMax> after;  // Where the send() stands once this one left.
  bool is_first_segmented;
};

SendProgress UdpSender::send(std::span<const Outgoing> batches, TimePoint now) {
  CHECK(!is_sending_);  // A handler called back.
  if (offload_off_until_ && now >= *offload_off_until_) offload_off_until_.reset();
  is_sending_ = true;
  is_plain_ = is_on_trial_ = is_second_try_ = false;
  at_ = {};
  Burst burst;
  while (at_.batches < batches.size()) {
    const std::size_t count = fill(batches, burst);
    if (count == 0) {  // Only empty batches were left.
      at_ = {batches.size(), 0};
      break;
    }
    const int result = submit(burst, count);
    if (result > 0) {
      on_sent(burst, static_cast<std::size_t>(result), now);
    } else if (on_error(batches, burst, -result, now) == Verdict::kBlocked) {
      ++config_.counters->blocked;
      break;
    }
  }
  is_sending_ = false;
  return at_;
}

bool UdpSender::send_empty(const Address& to, const IpAddress& source) {
  SocketAddress address;
  UdpControlRoom control;
  UdpMessage message{};
  if (to.port != 0) {
    message.header.msg_name = &address;
    message.header.msg_namelen = to_socket_address(to, address);
  }
  write_udp_control(message.header, control,
                    {.segment_bytes = 0, .source = source, .hop_limit = 0, .is_v4 = to.ip.is_v4()});
  ++config_.counters->send_calls;
  return config_.syscalls->send_one(config_.socket, message) >= 0;
}

std::size_t UdpSender::fill(std::span<const Outgoing> batches, Burst& burst) const {
  std::size_t count = 0;
  SendProgress at = at_;
  while (count < kMessagesMax && at.batches < batches.size()) {
    const Outgoing& batch = batches[at.batches];
    if (batch.datagrams.empty()) {
      at = {at.batches + 1, 0};
      continue;
    }
    CHECK(batch.segment_bytes > 0);
    const bool may_segment = is_offloading() && !(is_plain_ && plain_batch_ == at.batches);
    const std::size_t bytes = message_bytes(batch, at.bytes, may_segment);
    const bool is_segmented = bytes > batch.segment_bytes;
    if (count == 0) burst.is_first_segmented = is_segmented;

    // The system call's types know no const; sending does not write.
    burst.slices[count] = {const_cast<std::byte*>(batch.datagrams.data() + at.bytes), bytes};
    ::msghdr& header = burst.messages[count].header;
    header = {};
    if (batch.to.port != 0) {
      header.msg_name = &burst.addresses[count];
      header.msg_namelen = to_socket_address(batch.to, burst.addresses[count]);
    }
    header.msg_iov = &burst.slices[count];
    header.msg_iovlen = 1;
    write_udp_control(header, burst.controls[count],
                      {.segment_bytes = is_segmented ? batch.segment_bytes : 0,
                       .source = batch.source,
                       .hop_limit = batch.hop_limit,
                       .is_v4 = batch.to.ip.is_v4()});

    at.bytes += bytes;
    if (at.bytes == batch.datagrams.size()) at = {at.batches + 1, 0};
    burst.after[count++] = at;
  }
  return count;
}

// How many messages left, at least one, or -errno of the first.
int UdpSender::submit(Burst& burst, std::size_t count) {
  const int socket = config_.socket;
  if (count > 1 && has_many_) {
    ++config_.counters->send_calls;
    const int result = config_.syscalls->send_many(socket, {burst.messages.data(), count});
    if (result != -ENOSYS) return result;
    has_many_ = false;
  }
  for (std::size_t i = 0; i < count; ++i) {
    ++config_.counters->send_calls;
    const int result = config_.syscalls->send_one(socket, burst.messages[i]);
    if (result < 0) return i == 0 ? result : static_cast<int>(i);
  }
  return static_cast<int>(count);
}

void UdpSender::on_sent(const Burst& burst, std::size_t count, TimePoint now) {
  if (is_on_trial_) give_up_offload(now);  // The datagram was fine: segmenting it was not.
  is_on_trial_ = is_second_try_ = false;
  for (std::size_t i = 0; i < count; ++i) {
    config_.counters->bytes_sent += burst.slices[i].iov_len;
  }
  at_ = burst.after[count - 1];
}

UdpSender::Verdict UdpSender::on_error(std::span<const Outgoing> batches, const Burst& burst,
                                       int error, TimePoint now) {
  if (error == EAGAIN || error == EWOULDBLOCK) return Verdict::kBlocked;
  if (error == EINTR) return Verdict::kSendOn;
  if (burst.is_first_segmented && error == EIO) {
    give_up_offload(now);
    return Verdict::kSendOn;
  }
  // fill() passed over empty batches: the failed message belongs to the first that is not.
  while (batches[at_.batches].datagrams.empty()) at_ = {at_.batches + 1, 0};
  if (burst.is_first_segmented && may_blame_offload(error)) {
    is_plain_ = is_on_trial_ = true;
    plain_batch_ = at_.batches;
    return Verdict::kSendOn;
  }
  is_on_trial_ = false;
  if (error == ENOBUFS || error == ENOMEM) {
    // The kernel lost it, as a full router would. Waiting would not help: it says "writable".
    ++config_.counters->no_buffers;
    at_ = burst.after[0];
    return Verdict::kSendOn;
  }
  if (error == ECONNREFUSED && !is_second_try_) {
    is_second_try_ = true;  // An ICMP error of an earlier datagram; asking took it away.
    config_.handler->on_refused({error, std::system_category()});
    return Verdict::kSendOn;
  }
  is_second_try_ = false;
  const Outgoing& batch = batches[at_.batches];
  if (error == EMSGSIZE) {
    ++config_.counters->too_big;
    config_.handler->on_too_big(batch.to, std::min(batch.segment_bytes, batch.datagrams.size()));
  } else {
    ++config_.counters->unreachable;
    config_.handler->on_unreachable(batch.to, std::error_code(error, std::system_category()));
  }
  drop_batch();
  return Verdict::kSendOn;
}

void UdpSender::give_up_offload(TimePoint now) {
  ++config_.counters->offload_failures;
  offload_off_until_ = now + kOffloadRetryAfter;
}

// The rest would meet the same end, one system call each.
void UdpSender::drop_batch() { at_ = {at_.batches + 1, 0}; }

}  // namespace openp2p::net
