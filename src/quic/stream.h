#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <optional>

#include "quic/connection.h"
#include "quic/send_buffer.h"

namespace openp2p::quic {

/// One bidirectional stream, as the connection keeps it. Lists are intrusive, so that moving a
/// stream between "has something to send", "waits for credit" and "has commands waiting" allocates
/// nothing and never looks at other streams.
struct Stream {
  using Hook = boost::intrusive::list_member_hook<
      boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

  Stream(StreamId stream_id, bool local, ChunkPool& pool, SendBudget& budget, std::size_t limit)
      : id(stream_id), is_local(local), out(pool, budget, limit) {}

  bool wants_to_send() const { return out.has_unsent() || (is_fin_wanted && !is_fin_sent); }
  bool may_write() const { return !is_closed && !is_fin_wanted && !is_send_ended; }
  std::uint64_t unconsumed() const { return received - consumed; }

  const StreamId id;
  const bool is_local;     ///< Opened by this side.
  bool is_closed = false;  ///< QUIC is done with it; bytes may still wait to be consumed.
  bool is_fin_wanted = false;
  bool is_fin_sent = false;
  bool is_send_ended = false;     ///< Reset by us, or stopped by the peer.
  bool is_receive_ended = false;  ///< Stopped by us, or reset by the peer.
  bool wants_room = false;        ///< The owner was told "full" and waits.

  SendBuffer out;
  std::size_t turn_bytes = 0;        ///< Sent in its present turn.
  std::uint64_t received = 0;        ///< Bytes handed to the owner.
  std::uint64_t consumed = 0;        ///< Of these, bytes for which credit was asked.
  std::uint64_t credit_waiting = 0;  ///< Of these, bytes that the peer has not been told of.
  std::optional<std::uint64_t>
      reset_code;  ///< Commands, applied before the next packet is written.
  std::optional<std::uint64_t> stop_code;

  Hook send_hook;     ///< In ready or in waiting-for-connection-credit; else nothing to send, or
                      ///< blocked by the stream's own credit.
  Hook command_hook;  ///< In the list of streams with commands.
};

using SendList =
    boost::intrusive::list<Stream,
                           boost::intrusive::member_hook<Stream, Stream::Hook, &Stream::send_hook>,
                           boost::intrusive::constant_time_size<false>>;
using CommandList = boost::intrusive::list<
    Stream, boost::intrusive::member_hook<Stream, Stream::Hook, &Stream::command_hook>,
    boost::intrusive::constant_time_size<false>>;

}  // namespace openp2p::quic
