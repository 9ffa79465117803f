#include "net/udp_receiver.h"

#include <cerrno>

namespace openp2p::net {

UdpBuffers::UdpBuffers()
    : bytes_(std::make_unique_for_overwrite<std::byte[]>(kCount * kBytes)),
      slots_(std::make_unique<Slots>()) {
  for (std::size_t i = 0; i < kCount; ++i) {
    const MutableByteView buffer = (*this)[i];
    slots_->slots[i].slice = {buffer.data(), buffer.size()};
  }
}

UdpBuffers::~UdpBuffers() = default;

UdpReceiver::Batch UdpReceiver::receive() {
  const int count = fill();
  if (count < 0) {
    if (count == -EAGAIN || count == -EWOULDBLOCK) return {};
    // Asking took the error away (an ICMP message, mostly). It is about one sender at most.
    if (count == -EINTR) return {{}, /*may_have_more=*/true};
    ++config_.counters->receive_errors;
    return {{}, /*may_have_more=*/true, -count};
  }
  auto& received = config_.buffers->slots().received;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    if (read_message(i, received[kept])) ++kept;
  }
  return {{received.data(), kept}, static_cast<std::size_t>(count) == UdpBuffers::kCount};
}

// The kernel overwrites these lengths.
void UdpReceiver::prepare() {
  auto& [messages, slots, received] = config_.buffers->slots();
  for (std::size_t i = 0; i < UdpBuffers::kCount; ++i) {
    ::msghdr& header = messages[i].header;
    header = {};
    header.msg_name = &slots[i].address;
    header.msg_namelen = sizeof slots[i].address;
    header.msg_iov = &slots[i].slice;
    header.msg_iovlen = 1;
    header.msg_control = slots[i].control.bytes;
    header.msg_controllen = sizeof slots[i].control.bytes;
  }
}

int UdpReceiver::fill() {
  prepare();
  if (has_many_) {
    ++config_.counters->receive_calls;
    const int result =
        config_.syscalls->receive_many(config_.socket, config_.buffers->slots().messages);
    if (result != -ENOSYS) return result;
    has_many_ = false;
  }
  return fill_one_by_one();
}

int UdpReceiver::fill_one_by_one() {
  int count = 0;
  for (UdpMessage& message : config_.buffers->slots().messages) {
    ++config_.counters->receive_calls;
    const int result = config_.syscalls->receive_one(config_.socket, message);
    if (result < 0) return count == 0 ? result : count;
    message.bytes = static_cast<unsigned int>(result);
    ++count;
  }
  return count;
}

// False for what is of no use: empty datagrams mostly, and those that a buffer could not hold.
bool UdpReceiver::read_message(std::size_t index, Received& out) const {
  const UdpMessage& message = config_.buffers->slots().messages[index];
  if ((message.header.msg_flags & MSG_TRUNC) != 0) {
    ++config_.counters->truncated;
    return false;
  }
  if (message.bytes == 0 && !config_.takes_empty) return false;
  config_.counters->bytes_received += message.bytes;
  const UdpReceivedControl control = read_udp_control(message.header);
  out.from = from_socket_address(config_.buffers->slots().slots[index].address);
  out.local = control.local;
  out.interface_index = control.interface_index;
  out.datagrams = (*config_.buffers)[index].first(message.bytes);
  out.segment_bytes = control.segment_bytes != 0 ? control.segment_bytes : message.bytes;
  return true;
}

}  // namespace openp2p::net
