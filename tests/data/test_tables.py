"""Any table reads the same, or is named for what it is."""

import pytest

from arlrepro.data.files.tables import read_table
from helpers.stored_files import message, stored

EXPECTED = [["A", "0.1", "0.25"], ["B", "1", ""]]


@pytest.mark.parametrize(
    "text",
    [
        "id,x,y\nA,0.1,0.25\nB,1,\n",
        "id;x;y\nA;0,1;0,25\nB;1;\n",
        "id\tx\ty\r\nA\t0,1\t0.25\r\nB\t1\t\r\n",
        '"id"\t"x"\t"y"\n"A"\t0.1\t0.25\n"B"\t1\t\n',
        "sep=,\nid,x,y\nA,0.1,0.25\nB,1,\n",
        "sep=;\r\nid;x;y\r\nA;0,1;0,25\r\nB;1;\r\n",
        '"sep=\t"\nid\tx\ty\nA\t0.1\t0.25\nB\t1\t\n',
        "id,x,y,,\nA,0.1,0.25,,\nB,1,,,\n",
        "id,x,y,,\nA,0.1,0.25\nB,1,\n",
        "id,x,y\nA,0.1,0.25,,\nB,1,,\n",
        ",id,x,y\n0,A,0.1,0.25\n1,B,1,\n",
        "ID, X ,Y\nA,0.1,0.25\nB,1,\n,,\n",
    ],
)
def test_a_table_reads_the_same_however_a_spreadsheet_saved_it(tmp_path, text):
    for data in (text.encode("utf-8-sig"), text.encode("utf-16")):
        table = read_table(stored(tmp_path, data, "table.csv"))
        assert list(table.columns) == ["id", "x", "y"]
        assert table.to_numpy().tolist() == EXPECTED


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,x,,y\nA,1,2,3\n", "1 columns have cells but no name: columns 3. Name them."),
        ("id,x\nA,0,1\n", "1 rows have not the header's 2 cells: rows 2. Mend them."),
        ("sep=;\nid;x\nA;1\nB\n", "1 rows have not the header's 2 cells: rows 4. Mend them."),
    ],
)
def test_a_table_of_no_certain_meaning_is_named_for_what_it_is(tmp_path, text, what):
    file = stored(tmp_path, text.encode(), "table.csv")
    assert message(read_table, file) == f"{file}: {what}"


def test_a_comma_in_a_text_is_no_decimal_comma(tmp_path):
    table = read_table(stored(tmp_path, b"id;note\nA;0,5\nB;0,5 mm\n", "table.csv"))
    assert table["note"].tolist() == ["0,5", "0,5 mm"]
