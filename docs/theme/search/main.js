// Searches the guide in the page itself: from the disk, a browser loads neither a worker nor JSON.
(function () {
  "use strict";

  function load(path, then) {
    var script = document.createElement("script");
    script.src = base_url + "/search/" + path;
    script.onload = then;
    document.head.appendChild(script);
  }

  function element(name, text, parent) {
    var made = document.createElement(name);
    made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function begin(box, list) {
    var sections = {};
    var index = lunr(function () {
      this.ref("location");
      this.field("title", { boost: 10 });
      this.field("text");
      guide.forEach(function (section) {
        sections[section.location] = section;
        this.add(section);
      }, this);
    });

    function show() {
      var words = box.value.split(/[^\p{L}\p{N}]+/u).filter(function (word) { return word; });
      list.textContent = "";
      if (!words.length) {
        return;
      }
      var found = index.query(function (query) {
        words.forEach(function (word) {
          query.term(lunr.tokenizer(word), { boost: 10 });
          query.term(lunr.tokenizer(word), { wildcard: lunr.Query.wildcard.TRAILING, usePipeline: false });
        });
      });
      if (!found.length) {
        element("p", "Nothing is found.", list);
      }
      found.slice(0, 30).forEach(function (each) {
        var section = sections[each.ref];
        var article = element("article", "", list);
        var link = element("a", section.title, element("h3", "", article));
        link.href = base_url + "/" + section.location;
        element("p", section.text.slice(0, 240), article);
      });
    }

    box.addEventListener("input", show);
    box.value = new URLSearchParams(location.search).get("q") || "";
    show();
  }

  var box = document.getElementById("mkdocs-search-query");
  var list = document.getElementById("mkdocs-search-results");
  if (box && list) {
    load("lunr.js", function () {
      load("index.js", function () { begin(box, list); });
    });
  }
})();
