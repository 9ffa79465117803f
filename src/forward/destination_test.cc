#include "forward/destination.h"

#include <gtest/gtest.h>

namespace openp2p::forward {
namespace {

TEST(Destination, IsReadAsPeopleWriteIt) {
  EXPECT_EQ(parse_destination("nas:22"), (Destination{"nas", 22}));
  EXPECT_EQ(parse_destination("a.b-c.example.:65535"), (Destination{"a.b-c.example.", 65535}));
  EXPECT_EQ(parse_destination("192.0.2.1:80"), (Destination{"192.0.2.1", 80}));
  EXPECT_EQ(parse_destination("[::1]:22"), (Destination{"::1", 22}));
  EXPECT_EQ(parse_destination("my_host:1"), (Destination{"my_host", 1}));
}

TEST(Destination, WhatIsNoneIsRefused) {
  for (const char* text : {"",
                           ":",
                           "nas",
                           "nas:",
                           ":22",
                           "nas:0",
                           "nas:65536",
                           "nas:-1",
                           "nas:+1",
                           "nas: 22",
                           "nas:80 ",
                           "nas:8o",
                           "::1:22",
                           "[nas]:22",
                           "[::1]",
                           "[::1]80",
                           "[]:22",
                           "a b:22",
                           "a/b:22",
                           "-x:22",
                           "a..b:22",
                           ".a:22",
                           "1.2.3:9",
                           "nas:22x",
                           "a\x1b:22",
                           "a\n:22",
                           "256.1.1.1:22",
                           "[::1]:22:33",
                           "[fe80::1%eth0]:80"}) {
    EXPECT_FALSE(parse_destination(text)) << text;
  }
  EXPECT_TRUE(parse_destination(std::string(63, 'a') + ":22"));
  EXPECT_FALSE(parse_destination(std::string(64, 'a') + ":22"));
  EXPECT_FALSE(parse_destination(std::string(300, 'a') + ":22"));
}

TEST(Destination, IsWrittenSoThatItReadsBack) {
  for (const char* text : {"nas.lan:80", "10.0.0.1:65535", "[2001:db8::1]:443", "a_b-c.d:1"}) {
    const auto read = parse_destination(text);
    ASSERT_TRUE(read);
    EXPECT_EQ(destination_text(*read), text);
  }
}

}  // namespace
}  // namespace openp2p::forward
