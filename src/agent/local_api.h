#pragma once

#include <memory>

#include "agent/node_control.h"
#include "net/http_message.h"

namespace openp2p::agent {

/// The routes of the local API over a NodeControl; docs/json.md describes the JSON.
///
///   GET    /v1/status
///   GET    /v1/peers
///   GET    /v1/forwards
///   POST   /v1/forwards                    {"name","peer","host","port","listen","enabled"}
///   DELETE /v1/forwards/NAME
///   POST   /v1/forwards/NAME/enable        and /disable
///   POST   /v1/ping                        {"peer","count"}; answers a JSON line a reply
///   GET    /v1/netcheck                    and /v1/netcheck?lifetime=1
///
/// Failures: {"version":1,"error":{"kind":...,"text":...}} with a fitting status.
/// Sans-I/O. Threading: the agent's thread. Must live while requests are being answered.
class LocalApi {
 public:
  explicit LocalApi(NodeControl& node) : node_(node) {}

  void handle(const net::HttpRequest& request, const std::shared_ptr<net::HttpReply>& reply);

 private:
  struct Answer;
  Answer answer(const net::HttpRequest& request);
  Answer answer_peer(std::string_view encoded);
  Answer answer_forward(const net::HttpRequest& request, std::string_view rest);
  Answer add_forward(const net::HttpRequest& request);
  Answer set_share(const net::HttpRequest& request);
  void share(const std::shared_ptr<net::HttpReply>& reply);
  void ping(const net::HttpRequest& request, const std::shared_ptr<net::HttpReply>& reply);
  void netcheck(const NetcheckOptions& options, const std::shared_ptr<net::HttpReply>& reply);

  NodeControl& node_;
};

}  // namespace openp2p::agent
