#include "agent/close_text.h"

#include <gtest/gtest.h>

#include <set>

namespace openp2p::agent {
namespace {

using Kind = session::CloseReason::Kind;

TEST(CloseText, NamesThePartyAndWhatItSaid) {
  EXPECT_EQ(close_text({Kind::kPeer, 0, "removed"}, OtherParty::kServer),
            "the server closed the connection: removed");
  EXPECT_EQ(close_text({Kind::kPeer, 0, "that node stopped"}, OtherParty::kPeer),
            "the peer closed the session: that node stopped");
  EXPECT_EQ(close_text({Kind::kLocal, 0, "our own words"}, OtherParty::kPeer), "our own words");
}

TEST(CloseText, EachKindHasItsOwnSentence) {
  for (const OtherParty other : {OtherParty::kPeer, OtherParty::kServer}) {
    std::set<std::string> texts;
    for (const Kind kind : {Kind::kLocal, Kind::kPeer, Kind::kIdle, Kind::kRefused, Kind::kProtocol,
                            Kind::kHandshakeTimeout}) {
      texts.insert(close_text({kind, 0, "x"}, other));
    }
    EXPECT_EQ(texts.size(), 6U);
  }
}

}  // namespace
}  // namespace openp2p::agent
