#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "net/udp_syscalls.h"

/// Ancillary data of sockets (RFC 3542): for udp_linux.cc and udp_portable.cc.
namespace openp2p::net {

template <class Visit>
void for_each_control(const ::msghdr& header, Visit visit) {
  auto* mutable_header = const_cast<::msghdr*>(&header);  // The macros of some systems want that.
  for (auto* entry = CMSG_FIRSTHDR(mutable_header); entry != nullptr;
       entry = CMSG_NXTHDR(mutable_header, entry)) {
    visit(*entry);
  }
}

/// False if the entry is too short for a T. Copies, since the data may be unaligned.
template <class T>
bool read_control_data(const ::cmsghdr& entry, T& out) {
  if (entry.cmsg_len < CMSG_LEN(sizeof(T))) return false;
  std::memcpy(&out, CMSG_DATA(const_cast<::cmsghdr*>(&entry)), sizeof(T));
  return true;
}

/// Appends entries to the control data of one message.
class ControlWriter {
 public:
  ControlWriter(::msghdr& header, UdpControlRoom& room) : header_(header), room_(room) {}

  template <class T>
  void add(int level, int type, const T& data) {
    CHECK(size_ + CMSG_SPACE(sizeof(T)) <= sizeof room_.bytes);
    std::memset(room_.bytes + size_, 0, CMSG_SPACE(sizeof(T)));
    auto* entry = reinterpret_cast<::cmsghdr*>(room_.bytes + size_);
    entry->cmsg_level = level;
    entry->cmsg_type = type;
    entry->cmsg_len = CMSG_LEN(sizeof(T));
    std::memcpy(CMSG_DATA(entry), &data, sizeof(T));
    size_ += CMSG_SPACE(sizeof(T));
  }
  void finish() {
    header_.msg_control = size_ == 0 ? nullptr : room_.bytes;
    header_.msg_controllen = size_;
  }

 private:
  ::msghdr& header_;
  UdpControlRoom& room_;
  std::size_t size_ = 0;
};

void read_packet_info(const ::cmsghdr& entry, UdpReceivedControl& control);
void add_packet_info(ControlWriter& out, const IpAddress& source);
void add_hop_limit(ControlWriter& out, std::uint8_t hop_limit, bool is_v4);

}  // namespace openp2p::net
